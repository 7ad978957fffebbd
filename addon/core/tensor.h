#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace smore {

// A named, row-major view of bytes that somebody else keeps alive (a mapped file). Shape is in
// mathematical order: a matrix is {rows = outputs, columns = inputs} whatever the file calls it.
// No dimension is 0. The bytes may have any alignment: read them with memcpy or to_float.
struct TensorView {
  std::string name;  // as in the file
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int rank = 0;
  std::array<int64_t, 4> shape{1, 1, 1, 1};

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  int64_t columns() const { return rank == 0 ? 1 : shape[rank - 1]; }
  size_t bytes() const { return row_bytes(dtype, columns()) * (elements() / columns()); }
};

// Whether a name from a file can stand in a message and a listing: 1 to 65535 bytes, none of them a
// control character.
bool is_plain_name(std::string_view name);

// "[576, 1536]" for messages.
std::string shape_text(const TensorView& tensor);

// All values as float32, in order.
std::vector<float> to_floats(const TensorView& tensor);

}  // namespace smore
