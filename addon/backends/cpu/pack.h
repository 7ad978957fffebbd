#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "core/thread_pool.h"
#include "model/source.h"

namespace smore {

// Bytes on a cache line's border.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t count)
      : data_(static_cast<uint8_t*>(::operator new(count, std::align_val_t{64}))) {}
  uint8_t* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(uint8_t* data) const { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<uint8_t, Free> data_;
};

// A matrix as panels of 16 outputs; every part keeps its type and bit width.
class PackedMatrix final : public Matrix {
 public:
  struct Part {
    Panels panels;
    int first_out;  // of this part within the whole matrix
  };

  PackedMatrix(std::span<const MatrixSource> sources, ThreadPool& threads);

  int64_t rows() const override { return rows_; }
  int64_t columns() const override { return columns_; }
  size_t bytes() const override { return bytes_; }
  const std::vector<Part>& parts() const { return parts_; }

  // Row `row` as floats: what the products see of it.
  void unpack_row(int64_t row, float* values) const;

 private:
  int64_t rows_ = 0;
  int64_t columns_ = 0;
  size_t bytes_ = 0;
  std::vector<Part> parts_;
  std::vector<AlignedBytes> data_;  // of each part
};

}  // namespace smore
