#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "core/huge_pages.h"
#include "core/thread_pool.h"
#include "model/source.h"

namespace smore {

// A matrix as panels of 16 outputs; every part keeps its type and bit width.
class PackedMatrix final : public Matrix {
 public:
  struct Part {
    Panels panels;
    int first_out;  // of this part within the whole matrix
  };

  PackedMatrix(std::span<const MatrixSource> sources, HugeArena& arena, ThreadPool& threads);

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
  std::vector<std::shared_ptr<uint8_t>> data_;  // of each part
};

}  // namespace smore
