#include "backends/cpu/dense.h"

#include <algorithm>

#include "backends/cpu/cpu_backend.h"

namespace smore {

static_assert(kDensePanel == kPanel);

namespace {
constexpr int64_t kLargestCode = 127;
}

const DenseKernels& dense_kernels(const Backend& backend) {
  return static_cast<const CpuBackend&>(backend).dense();
}

DenseRows rows_of(const DenseKernels& kernels, DType dtype, bool coded) {
  if (!kernels.rounds) return DenseRows::kFloat;
  if (coded) return kernels.kernels->codes ? DenseRows::kInteger : DenseRows::kFloat;
  return dtype == DType::kBF16 && kernels.kernels->bf16 ? DenseRows::kBf16 : DenseRows::kFloat;
}

void round_rows(const DenseKernels& kernels, const float* x, int64_t x_stride,
                const int32_t* x_rows, int rows, int columns, uint16_t* values) {
  const int64_t width = rounded_width(columns);
  for (int i = 0; i < rows; ++i) {
    const float* row = x + (x_rows != nullptr ? x_rows[i] : i) * x_stride;
    kernels.kernels->bf16->round_row(row, columns, values + i * width);
  }
}

void round_rows(const DenseKernels& kernels, const float* x, int64_t x_stride,
                const int32_t* x_rows, int rows, int columns, bool panels, int16_t* values,
                float* scales) {
  const int64_t width = rounded_width(columns);
  const int64_t most_pairs = panels ? width / 2 : code_row_values(columns) / 32;  // of a lane
  const int64_t fitting = INT32_MAX / (2 * kLargestCode * most_pairs);
  const int largest = static_cast<int>(std::min<int64_t>(INT16_MAX, fitting));
  for (int i = 0; i < rows; ++i) {
    const float* row = x + (x_rows != nullptr ? x_rows[i] : i) * x_stride;
    kernels.kernels->codes->round_row(row, columns, largest, values + i * width, scales + i);
  }
}

void dense_rows(const DenseKernels& kernels, const DenseProduct& p) {
  const CpuKernels& table = *kernels.kernels;
  const auto dense = p.integers != nullptr  ? table.codes->dense
                     : p.rounded != nullptr ? table.bf16->dense
                                            : table.dense;
  dense({.w = p.w,
         .dtype = p.dtype,
         .scales = p.scales,
         .panels = p.panels,
         .out = p.out,
         .in = p.in,
         .bias = p.bias,
         .x = p.x,
         .rounded = p.rounded,
         .integers = p.integers,
         .x_scales = p.x_scales,
         .x_stride = p.x_stride,
         .x_rows = p.x_rows,
         .rows = p.rows,
         .y = p.y,
         .y_stride = p.y_stride,
         .y_rows = p.y_rows,
         .scale = p.scale,
         .accumulate = p.accumulate});
}

void tanh_values(const DenseKernels& kernels, float* x, int64_t count) {
  kernels.kernels->softcap(1.0f, x, count);
}

}  // namespace smore
