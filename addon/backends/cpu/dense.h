#pragma once

#include <cstdint>

#include "backends/backend.h"
#include "core/dtype.h"

namespace smore {

// The machine's products with small float matrices in their stored type (adapters). One
// accumulation order per (row, output) whatever `rows`, the row lists and the caller's split into
// calls.
struct DenseKernels;

// The kernels of the path that `backend` runs. Requires a backend made by make_cpu_backend.
const DenseKernels& dense_kernels(const Backend& backend);

// Outputs that lie together in a matrix of panels.
inline constexpr int kDensePanel = 16;

// y[y_row(i)] (+)= scale * (W x[x_row(i)] + bias) for i in [0, rows), where a null row list means
// i.
struct DenseProduct {
  const void* w = nullptr;    // [out, in], row-major, aligned to its element
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16; products and sums are float32
  // w is [ceil(out / kDensePanel)][in][kDensePanel] instead, outputs beyond the last are 0: the
  // better layout unless rows are long and few.
  bool panels = false;
  int out = 0;
  int in = 0;
  const float* bias = nullptr;  // [out] or null
  const float* x = nullptr;
  int64_t x_stride = 0;             // floats between rows of x
  const int32_t* x_rows = nullptr;  // [rows] or null
  int rows = 0;
  float* y = nullptr;
  int64_t y_stride = 0;             // floats between rows of y
  const int32_t* y_rows = nullptr;  // [rows] or null; no row twice in one call
  float scale = 1;
  bool accumulate = false;  // += instead of =
};

// Runs on the calling thread; callers split rows or outputs (w + o * in, bias + o, y + o; at
// multiples of kDensePanel when in panels) over the thread pool.
void dense_rows(const DenseKernels& kernels, const DenseProduct& product);

// x = tanh(x), the same bits wherever a value stands. Runs on the calling thread.
void tanh_values(const DenseKernels& kernels, float* x, int64_t count);

}  // namespace smore
