#include "backends/cpu/dense.h"

#include "backends/cpu/cpu_backend.h"

namespace smore {

static_assert(kDensePanel == kPanel);

const DenseKernels& dense_kernels(const Backend& backend) {
  return static_cast<const CpuBackend&>(backend).dense();
}

bool multiplies_rounded(const DenseKernels& kernels) { return kernels.rounds; }

void round_rows(const DenseKernels& kernels, const float* x, int64_t x_stride,
                const int32_t* x_rows, int rows, int columns, uint16_t* values) {
  const int64_t width = rounded_width(columns);
  for (int i = 0; i < rows; ++i) {
    const float* row = x + (x_rows != nullptr ? x_rows[i] : i) * x_stride;
    kernels.kernels->bf16->round_row(row, columns, values + i * width);
  }
}

void dense_rows(const DenseKernels& kernels, const DenseProduct& p) {
  const auto dense = p.rounded != nullptr ? kernels.kernels->bf16->dense : kernels.kernels->dense;
  dense({.w = p.w,
         .dtype = p.dtype,
         .scales = p.scales,
         .panels = p.panels,
         .out = p.out,
         .in = p.in,
         .bias = p.bias,
         .x = p.x,
         .rounded = p.rounded,
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
