// Dense products with two columns to a lane at a time, in terms of Pairs: what a vector of weights
// and of activations is, and how they are multiplied. One pair after the other whatever the tile.

#pragma once

#include "backends/cpu/dense_tiles.inl"

namespace smore {
namespace {

// How far ahead of panels memory is asked for at least, in bytes.
constexpr int64_t kAhead = 8192;

// Columns of a vector.
constexpr int kPairColumns = 2 * Simd::N;

template <class Pairs>
[[gnu::always_inline]] inline const typename Pairs::Value* pair_row(const DenseTile& t, int i) {
  return Pairs::rows(t) + (t.x_rows ? t.x_rows[i] : i) * t.x_stride;
}

// Row-major weights: lanes run along pairs of columns and are summed at the end.
template <class Pairs, int outs, int rows>
void row_major_pairs(const DenseTile& t, int out, int row) {
  const int64_t row_bytes = Pairs::row_bytes(t.in);
  const uint8_t* w = static_cast<const uint8_t*>(t.w) + out * row_bytes;
  const typename Pairs::Value* x[rows];
  for (int r = 0; r < rows; ++r) x[r] = pair_row<Pairs>(t, row + r);
  typename Pairs::Sum acc[outs][rows];
#pragma GCC unroll 4
  for (int o = 0; o < outs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[o][r] = Pairs::zero();
  }
  I weights[outs];
  const auto add = [&](int k, auto load) __attribute__((always_inline)) {
    I values[rows];
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) values[r] = load(x[r] + k);
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) acc[o][r] = Pairs::add(acc[o][r], weights[o], values[r]);
    }
  };
  int k = 0;
  for (; k + kPairColumns <= t.in; k += kPairColumns) {
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const uint8_t* at = w + o * row_bytes + k * Pairs::kBytes;
      Simd::prefetch(at + outs * row_bytes);
      weights[o] = Pairs::weights(at);
    }
    add(k, [](const void* p) { return Simd::iload(p); });
  }
  if (k < t.in) {
    const __mmask32 rest = (1u << (t.in - k)) - 1;
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      weights[o] = Pairs::weights_part(w + o * row_bytes + k * Pairs::kBytes, rest);
    }
    add(k, [rest](const void* p) { return _mm512_maskz_loadu_epi16(rest, p); });
  }
  for (int r = 0; r < rows; ++r) {
    const auto sum = [&](int o) {
      return o < outs ? Pairs::floats(t, row + r, acc[o < outs ? o : 0][r]) : Simd::zero();
    };
    store_quad<outs>(t, out, row + r, Simd::sum4(sum(0), sum(1), sum(2), sum(3)));
  }
}

template <class Pairs, int panels, int rows>
void panels_of_pairs(const DenseTile& t, int panel, int row) {
  constexpr int kPairBytes = 2 * kPanel * Pairs::kBytes;
  const int pairs = (t.in + 1) / 2;
  const int64_t panel_bytes = int64_t{pairs} * kPairBytes;
  const uint8_t* w = static_cast<const uint8_t*>(t.w) + panel * panel_bytes;
  const uint8_t* ahead = w + (panels * panel_bytes > kAhead ? panels * panel_bytes : kAhead);
  const typename Pairs::Value* x[rows];
  float* y[rows];
  for (int r = 0; r < rows; ++r) {
    x[r] = pair_row<Pairs>(t, row + r);
    y[r] = output_row(t, row + r);
  }
  typename Pairs::Sum acc[panels][rows];
#pragma GCC unroll 8
  for (int v = 0; v < panels; ++v) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) acc[v][r] = Pairs::zero();
  }
  for (int pair = 0; pair < pairs; ++pair) {
    I weights[panels];
#pragma GCC unroll 8
    for (int v = 0; v < panels; ++v) {
      if (v * kPairBytes % 64 == 0) Simd::prefetch(ahead + (pair * panels + v) * kPairBytes);
      weights[v] = Pairs::weights(w + v * panel_bytes + pair * kPairBytes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      int32_t two;
      __builtin_memcpy(&two, x[r] + 2 * pair, sizeof two);
      const I values = Simd::iset(two);
#pragma GCC unroll 8
      for (int v = 0; v < panels; ++v) acc[v][r] = Pairs::add(acc[v][r], weights[v], values);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < panels; ++v) {
    F sums[rows];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) sums[r] = Pairs::floats(t, row + r, acc[v][r]);
    store_sums<rows>(t, (panel + v) * kPanel, y, sums);
  }
}

// All rows while the panels are near.
template <class Pairs, int panels, int most_rows>
void rows_of_panels(const DenseTile& t, int panel) {
  for_row_tiles<most_rows>(
      0, t.rows, [&]<int rows>(int row) { panels_of_pairs<Pairs, panels, rows>(t, panel, row); });
}

template <class Pairs>
void dense_pairs(const DenseTile& t) {
  if (!t.panels) {
    for_row_tiles<4>(0, t.rows, [&]<int rows>(int row) {
      for_row_tiles<4>(0, t.out,
                       [&]<int outs>(int out) { row_major_pairs<Pairs, outs, rows>(t, out, row); });
    });
    return;
  }
  const int total = (t.out + kPanel - 1) / kPanel;
  if (t.rows <= 4) {  // few chains a panel: more panels hide the sums' latency
    for_row_tiles<4>(0, total,
                     [&]<int panels>(int panel) { rows_of_panels<Pairs, panels, 4>(t, panel); });
  } else {
    for_row_tiles<2>(0, total,
                     [&]<int panels>(int panel) { rows_of_panels<Pairs, panels, 8>(t, panel); });
  }
}

}  // namespace
}  // namespace smore
