// Products with weights as float types, in one chain per (row, output). Row-major: lanes run along
// the columns and are summed at the end. In panels: lanes are outputs, and nothing is left to sum.

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

template <DType dtype>
[[gnu::always_inline]] inline F load_weights(const void* w, int64_t index) {
  if constexpr (dtype == DType::kF32) return Simd::load(static_cast<const float*>(w) + index);
  const uint16_t* at = static_cast<const uint16_t*>(w) + index;
  if constexpr (dtype == DType::kF16) return Simd::load_half(at);
  return Simd::from_bits(Simd::shl<16>(Simd::load_u16(at)));
}

// The last columns, zero beyond: never reads past the row.
template <DType dtype>
[[gnu::always_inline]] inline F load_weights_part(const void* w, int64_t index, int count) {
  if constexpr (dtype == DType::kF32) {
    return Simd::load_part(static_cast<const float*>(w) + index, count);
  }
  const I bits = Simd::load_u16_part(static_cast<const uint16_t*>(w) + index, count);
  if constexpr (dtype == DType::kF16) return Simd::half_bits_to_float(bits);
  return Simd::from_bits(Simd::shl<16>(bits));
}

inline const float* input_row(const DenseTile& t, int i) {
  return t.x + (t.x_rows ? t.x_rows[i] : i) * t.x_stride;
}

inline float* output_row(const DenseTile& t, int i) {
  return t.y + (t.y_rows ? t.y_rows[i] : i) * t.y_stride;
}

// Four outputs at most, whose sums share their last steps.
template <DType dtype, int outs, int rows>
void dense_tile(const DenseTile& t, int out, int row) {
  const float* x[rows];
  for (int r = 0; r < rows; ++r) x[r] = input_row(t, row + r);
  const int64_t base = static_cast<int64_t>(out) * t.in;
  F acc[outs][rows];
#pragma GCC unroll 4
  for (int o = 0; o < outs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[o][r] = Simd::zero();
  }
  int k = 0;
  for (; k + Simd::N <= t.in; k += Simd::N) {
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const F w = load_weights<dtype>(t.w, base + static_cast<int64_t>(o) * t.in + k);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) acc[o][r] = Simd::fma(w, Simd::load(x[r] + k), acc[o][r]);
    }
  }
  if (k < t.in) {
    const int left = t.in - k;
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const F w = load_weights_part<dtype>(t.w, base + static_cast<int64_t>(o) * t.in + k, left);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        acc[o][r] = Simd::fma(w, Simd::load_part(x[r] + k, left), acc[o][r]);
      }
    }
  }
  Quad bias{};
  if (t.bias) __builtin_memcpy(&bias, t.bias + out, outs * sizeof(float));
  for (int r = 0; r < rows; ++r) {
    const auto sum = [&](int o) { return o < outs ? acc[o < outs ? o : 0][r] : Simd::zero(); };
    Quad value = t.scale * (Simd::sum4(sum(0), sum(1), sum(2), sum(3)) + bias);
    float* y = output_row(t, row + r) + out;
    Quad before{};
    if (t.accumulate) __builtin_memcpy(&before, y, outs * sizeof(float));
    if (t.accumulate) value += before;
    __builtin_memcpy(y, &value, outs * sizeof(float));
  }
}

template <DType dtype>
void dense_typed(const DenseTile& t) {
  for_row_tiles<Simd::kDenseTile>(0, t.rows, [&]<int rows>(int row) {
    for_row_tiles<4>(0, t.out,
                     [&]<int outs>(int out) { dense_tile<dtype, outs, rows>(t, out, row); });
  });
}

// Outputs [vec * N, (vec + vecs) * N) of `rows` rows.
template <DType dtype, int vecs, int rows>
void panel_tile(const DenseTile& t, int vec, int row) {
  constexpr int kSize = dtype == DType::kF32 ? 4 : 2;
  const float* x[rows];
  for (int r = 0; r < rows; ++r) x[r] = input_row(t, row + r);
  int64_t base[vecs];
  F acc[vecs][rows];
#pragma GCC unroll 8
  for (int v = 0; v < vecs; ++v) {
    const int out = (vec + v) * Simd::N;
    base[v] = static_cast<int64_t>(out / kPanel) * kPanel * t.in + out % kPanel;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) acc[v][r] = Simd::zero();
  }
  const auto* ahead = static_cast<const uint8_t*>(t.w) + (base[0] + vecs * Simd::N * t.in) * kSize;
  for (int k = 0; k < t.in; ++k) {
    Simd::prefetch(ahead + k * vecs * Simd::N * kSize);
    F w[vecs];
#pragma GCC unroll 8
    for (int v = 0; v < vecs; ++v) w[v] = load_weights<dtype>(t.w, base[v] + k * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const F value = Simd::set(x[r][k]);
#pragma GCC unroll 8
      for (int v = 0; v < vecs; ++v) acc[v][r] = Simd::fma(w[v], value, acc[v][r]);
    }
  }
  const F scale = Simd::set(t.scale);
  for (int v = 0; v < vecs; ++v) {
    const int out = (vec + v) * Simd::N;
    const F bias = t.bias ? load_outputs(t.bias + out, t.out - out) : Simd::zero();
    for (int r = 0; r < rows; ++r) {
      float* y = output_row(t, row + r) + out;
      const F sum = Simd::add(acc[v][r], bias);
      const F value = t.accumulate ? Simd::fma(scale, sum, load_outputs(y, t.out - out))
                                   : Simd::mul(scale, sum);
      store_outputs(y, value, t.out - out);
    }
  }
}

template <DType dtype>
void panels_typed(const DenseTile& t) {
  const int total = (t.out + Simd::N - 1) / Simd::N;
  for_row_tiles<Simd::kFloatTile>(0, t.rows, [&]<int rows>(int row) {
    // Few rows take more outputs at a time, so that the sums' latency stays hidden.
    constexpr int kVecs = rows * 2 <= Simd::kFloatTile ? 4 : 2;
    for_row_tiles<kVecs>(0, total,
                         [&]<int vecs>(int vec) { panel_tile<dtype, vecs, rows>(t, vec, row); });
  });
}

void dense(const DenseTile& t) {
  if (t.panels) {
    if (t.dtype == DType::kF32) return panels_typed<DType::kF32>(t);
    if (t.dtype == DType::kF16) return panels_typed<DType::kF16>(t);
    return panels_typed<DType::kBF16>(t);
  }
  if (t.dtype == DType::kF32) return dense_typed<DType::kF32>(t);
  if (t.dtype == DType::kF16) return dense_typed<DType::kF16>(t);
  dense_typed<DType::kBF16>(t);
}

}  // namespace
}  // namespace smore
