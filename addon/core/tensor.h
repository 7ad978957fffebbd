#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace smore {

// What a file tells of a tensor; row-major. Shape is in mathematical order: a matrix is {rows =
// outputs, columns = inputs} whatever the file calls it. No dimension is 0.
struct TensorInfo {
  std::string name;  // as in the file
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, 4> shape{1, 1, 1, 1};

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  int64_t columns() const { return rank == 0 ? 1 : shape[rank - 1]; }
  size_t bytes() const { return row_bytes(dtype, columns()) * (elements() / columns()); }
};

// A tensor whose bytes somebody else keeps alive (a mapped file). They may have any alignment: read
// them with memcpy or to_float.
struct TensorView : TensorInfo {
  const void* data = nullptr;
};

// A tensor that is read from its file when it is needed.
struct FileTensor : TensorInfo {
  uint64_t offset = 0;  // of its first byte in the file
};

// Whether a name from a file can stand in a message and a listing: 1 to 65535 bytes, none of them a
// control character.
bool is_plain_name(std::string_view name);

// "[576, 1536]" for messages.
std::string shape_text(const TensorInfo& tensor);

// All values as float32, in order.
std::vector<float> to_floats(const TensorView& tensor);

}  // namespace smore
