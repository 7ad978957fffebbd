// Where the rows of dense products lie, and how their sums are stored, whatever summed them.

#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/tiles.inl"

namespace smore {
namespace {

inline const float* input_row(const DenseTile& t, int i) {
  return t.x + (t.x_rows ? t.x_rows[i] : i) * t.x_stride;
}

inline float* output_row(const DenseTile& t, int i) {
  return t.y + (t.y_rows ? t.y_rows[i] : i) * t.y_stride;
}

// Rows of codes outside panels: padded, so that no kernel reads past the last.
constexpr int64_t code_row_bytes(int columns) { return (int64_t{columns} + 31) / 32 * 32; }

// y (+)= scale * (scales * sums + bias) for the lanes of outputs [out, out + N), of which `outs`
// exist, of `rows` rows, whose y are given.
template <int rows, bool accumulate>
[[gnu::always_inline]] inline void store_lanes(const DenseTile& t, int out, int outs,
                                               float* const* y, const F* sums) {
  const F scale = Simd::set(t.scale);
  const F bias = t.bias ? load_outputs(t.bias + out, outs) : Simd::zero();
  const F factors = t.scales ? load_outputs(t.scales + out, outs) : Simd::set(1.0f);
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    float* to = y[r] + out;
    const F sum = Simd::add(Simd::mul(sums[r], factors), bias);
    if constexpr (accumulate) {
      store_outputs(to, Simd::fma(scale, sum, load_outputs(to, outs)), outs);
    } else {
      store_outputs(to, Simd::mul(scale, sum), outs);
    }
  }
}

template <int rows>
[[gnu::always_inline]] inline void store_sums(const DenseTile& t, int out, float* const* y,
                                              const F* sums) {
  const int outs = t.out - out;
  if (outs >= Simd::N) {
    if (t.accumulate) return store_lanes<rows, true>(t, out, Simd::N, y, sums);
    return store_lanes<rows, false>(t, out, Simd::N, y, sums);
  }
  if (t.accumulate) return store_lanes<rows, true>(t, out, outs, y, sums);
  store_lanes<rows, false>(t, out, outs, y, sums);
}

// The same for outputs [out, out + outs) of one row.
template <int outs>
[[gnu::always_inline]] inline void store_quad(const DenseTile& t, int out, int row, Quad sums) {
  Quad bias{};
  if (t.bias) __builtin_memcpy(&bias, t.bias + out, outs * sizeof(float));
  Quad factors{1, 1, 1, 1};
  if (t.scales) __builtin_memcpy(&factors, t.scales + out, outs * sizeof(float));
  Quad value = t.scale * (sums * factors + bias);
  float* y = output_row(t, row) + out;
  Quad before{};
  if (t.accumulate) __builtin_memcpy(&before, y, outs * sizeof(float));
  if (t.accumulate) value += before;
  __builtin_memcpy(y, &value, outs * sizeof(float));
}

}  // namespace
}  // namespace smore
