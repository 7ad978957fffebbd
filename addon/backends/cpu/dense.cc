#include "backends/cpu/dense.h"

#include "backends/cpu/cpu_backend.h"

namespace smore {

static_assert(kDensePanel == kPanel);

const DenseKernels& dense_kernels(const Backend& backend) {
  return static_cast<const CpuBackend&>(backend).dense();
}

void dense_rows(const DenseKernels& kernels, const DenseProduct& p) {
  kernels.kernels->dense({.w = p.w,
                          .dtype = p.dtype,
                          .panels = p.panels,
                          .out = p.out,
                          .in = p.in,
                          .bias = p.bias,
                          .x = p.x,
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
