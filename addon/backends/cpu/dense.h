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

// What products of a type of weights multiply: activations as they are, rounded to bfloat16, or
// as integers of 16 bits with a scale for each row. The latter two on request, and where the
// machine has such products, which are faster.
enum class DenseRows { kFloat, kBf16, kInteger };
DenseRows rows_of(const DenseKernels& kernels, DType dtype, bool coded);

// Values of a row that is not kFloat: an odd last one is followed by 0.
inline int64_t rounded_width(int columns) { return (int64_t{columns} + 1) / 2 * 2; }

// values[i] = x[x_rows[i]] (null: x[i]) rounded, [rows, rounded_width(columns)], for kBf16.
void round_rows(const DenseKernels& kernels, const float* x, int64_t x_stride,
                const int32_t* x_rows, int rows, int columns, uint16_t* values);

// Likewise for kInteger: x = scales[i] * values[i]. Integers are as large as the sums of products
// with a matrix of so many columns, in panels or not, allow: at most 15 bits and a sign, 14 for
// rows of 16384 outside panels.
void round_rows(const DenseKernels& kernels, const float* x, int64_t x_stride,
                const int32_t* x_rows, int rows, int columns, bool panels, int16_t* values,
                float* scales);

// Outputs that lie together in a matrix of panels.
inline constexpr int kDensePanel = 16;

// y[y_row(i)] (+)= scale * (W x[x_row(i)] + bias) for i in [0, rows), where a null row list means
// i.
struct DenseProduct {
  const void* w = nullptr;    // [out, in], row-major, aligned to its element
  DType dtype = DType::kF32;  // kF32, kF16 or kBF16; products and sums are float32
  // w is [ceil(out / kDensePanel)][in][kDensePanel] instead, in bfloat16 with its columns in pairs,
  // [ceil(out / kDensePanel)][ceil(in / 2)][kDensePanel][2]; what lies beyond the last output and
  // column is 0. The better layout unless rows are long and few.
  bool panels = false;
  // [out] or null. With scales w holds, where it would hold bfloat16, integers of -127 to 127 in a
  // byte each, to be multiplied by the scale of their output; rows outside panels take
  // code_row_values(in).
  const float* scales = nullptr;
  int out = 0;
  int in = 0;
  const float* bias = nullptr;  // [out] or null
  const float* x = nullptr;
  const uint16_t* rounded = nullptr;  // instead of x, with weights in bfloat16 (round_rows)
  const int16_t* integers = nullptr;  // instead of x, with codes (round_rows)
  const float* x_scales = nullptr;    // of rows of integers
  int64_t x_stride = 0;               // values between rows of x
  const int32_t* x_rows = nullptr;    // [rows] or null
  int rows = 0;
  float* y = nullptr;
  int64_t y_stride = 0;             // floats between rows of y
  const int32_t* y_rows = nullptr;  // [rows] or null; no row twice in one call
  float scale = 1;
  bool accumulate = false;  // += instead of =
};

// Bytes of a row of integers outside panels, 0 beyond its last column.
inline int64_t code_row_values(int64_t in) { return (in + 31) / 32 * 32; }

// Values that a matrix takes in panels.
inline int64_t panel_values(DType dtype, int64_t out, int64_t in) {
  const int64_t columns = dtype == DType::kBF16 ? (in + 1) / 2 * 2 : in;
  return (out + kDensePanel - 1) / kDensePanel * kDensePanel * columns;
}

// Where (output, column) of a matrix in panels is.
inline int64_t panel_index(DType dtype, int64_t in, int64_t out, int64_t column) {
  const int64_t panel = panel_values(dtype, kDensePanel, in) * (out / kDensePanel);
  const int64_t lane = out % kDensePanel;
  if (dtype == DType::kBF16) return panel + (column / 2 * kDensePanel + lane) * 2 + column % 2;
  return panel + column * kDensePanel + lane;
}

// Runs on the calling thread; callers split rows or outputs (w + o * in, bias + o, y + o; at
// multiples of kDensePanel when in panels) over the thread pool.
void dense_rows(const DenseKernels& kernels, const DenseProduct& product);

// x = tanh(x), the same bits wherever a value stands. Runs on the calling thread.
void tanh_values(const DenseKernels& kernels, float* x, int64_t count);

}  // namespace smore
