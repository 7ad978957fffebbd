// Products with bfloat16 weights by AVX-512's own instruction for pairs of columns, one pair after
// the other whatever the tile.

#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/dense_tiles.inl"

namespace smore {

extern const Bf16Kernels kAvx512Bf16Products;

namespace {

constexpr int kTile = 8;

__m512bh as_pairs(I bits) { return reinterpret_cast<__m512bh>(bits); }

template <int rows>
void round_tile(const float* x, int columns, uint16_t* values) {
  for (int k = 0; k < columns; k += Simd::N) {
    const int left = columns - k;
    for (int r = 0; r < rows; ++r) {
      const float* from = x + static_cast<int64_t>(r) * columns + k;
      const F v = left < Simd::N ? Simd::load_part(from, left) : Simd::load(from);
      alignas(32) uint16_t rounded[Simd::N];
      _mm256_store_si256(reinterpret_cast<__m256i*>(rounded),
                         reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
      for (int pair = 0; pair < 8 && 2 * pair < left; ++pair) {
        __builtin_memcpy(values + 2 * ((k / 2 + pair) * rows + r), rounded + 2 * pair, 4);
      }
    }
  }
}

void round(const float* x, int columns, int row_begin, int row_end, uint16_t* values) {
  const int64_t stride = (columns + 1) / 2 * 2;
  for_row_tiles<kTile>(row_begin, row_end, [&]<int rows>(int row) {
    round_tile<rows>(x + static_cast<int64_t>(row) * columns, columns, values + row * stride);
  });
}

// Results of `rows` rows and `panels` panels: enough chains to hide a product's latency, few enough
// loads for each product.
template <int panels, int rows>
void product_tile(const Panels& w, int panel, const uint16_t* x, int row, const ProductTarget& t) {
  const uint8_t* weights = w.data + panel * w.panel_bytes;
  const uint8_t* next = weights + panels * w.panel_bytes;
  const int pairs = (w.columns + 1) / 2;
  F acc[panels][rows];
#pragma GCC unroll 4
  for (int p = 0; p < panels; ++p) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) acc[p][r] = Simd::zero();
  }
  for (int pair = 0; pair < pairs; ++pair) {
    __m512bh values[panels];
#pragma GCC unroll 4
    for (int p = 0; p < panels; ++p) {
      Simd::prefetch(next + p * w.panel_bytes + pair * 64);
      values[p] = as_pairs(Simd::iload(weights + p * w.panel_bytes + pair * 64));
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      int32_t two;
      __builtin_memcpy(&two, x + 2 * (pair * rows + r), sizeof two);
      const __m512bh factor = as_pairs(Simd::iset(two));
#pragma GCC unroll 4
      for (int p = 0; p < panels; ++p) acc[p][r] = _mm512_dpbf16_ps(acc[p][r], values[p], factor);
    }
  }
#pragma GCC unroll 4
  for (int p = 0; p < panels; ++p) {
    const int first = (panel + p) * kPanel;
    const int outs = w.outs - first;
    const F bias = t.bias ? load_outputs(t.bias + first, outs) : Simd::zero();
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      store_outputs(t.y + (row + r) * t.y_stride + first, Simd::add(acc[p][r], bias), outs);
    }
  }
}

// All rows while the panels are near.
template <int most_panels>
void product_panels(const Panels& w, const uint16_t* x, const ProductTarget& t) {
  const int64_t stride = (w.columns + 1) / 2 * 2;
  for_row_tiles<most_panels>(t.panel_begin, t.panel_end, [&]<int panels>(int panel) {
    for_row_tiles<kTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
      product_tile<panels, rows>(w, panel, x + row * stride, row, t);
    });
  });
}

void product(const Panels& w, const uint16_t* x, const ProductTarget& t) {
  if (t.row_end - t.row_begin <= 4) return product_panels<1>(w, x, t);  // memory wants one stream
  product_panels<2>(w, x, t);
}

void round_row(const float* x, int columns, uint16_t* values) {
  int k = 0;
  for (; k + Simd::N <= columns; k += Simd::N) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + k),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(Simd::load(x + k))));
  }
  const int left = columns - k;
  if (left == 0) return;
  const __m256bh rounded = _mm512_cvtneps_pbh(Simd::load_part(x + k, left));
  _mm256_mask_storeu_epi16(values + k, Simd::mask((left + 1) / 2 * 2),
                           reinterpret_cast<__m256i>(rounded));
}

inline const uint16_t* rounded_row(const DenseTile& t, int i) {
  return t.rounded + (t.x_rows ? t.x_rows[i] : i) * t.x_stride;
}

// 32 weights as they are multiplied: bfloat16, or codes, which it holds exactly.
template <bool codes>
[[gnu::always_inline]] inline __m512bh load_weights(const uint8_t* at) {
  if constexpr (!codes) return as_pairs(Simd::iload(at));
  const auto* values = reinterpret_cast<const int8_t*>(at);
  return _mm512_cvtne2ps_pbh(Simd::to_float(Simd::load_i8(values + Simd::N)),
                             Simd::to_float(Simd::load_i8(values)));
}

// Row-major weights: lanes run along pairs of columns and are summed at the end.
template <bool codes, int outs, int rows>
void row_major_tile(const DenseTile& t, int out, int row) {
  constexpr int kColumns = 2 * Simd::N;
  constexpr int kAhead = 1024;  // bytes
  constexpr int kSize = codes ? 1 : 2;
  const int64_t row_bytes = codes ? code_row_bytes(t.in) : int64_t{t.in} * kSize;
  const uint8_t* w = static_cast<const uint8_t*>(t.w) + out * row_bytes;
  const uint16_t* x[rows];
  for (int r = 0; r < rows; ++r) x[r] = rounded_row(t, row + r);
  F acc[outs][rows];
#pragma GCC unroll 4
  for (int o = 0; o < outs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[o][r] = Simd::zero();
  }
  const auto add = [&](int k, const __m512bh* weights, auto load) {
    __m512bh values[rows];
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) values[r] = as_pairs(load(x[r] + k));
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) acc[o][r] = _mm512_dpbf16_ps(acc[o][r], weights[o], values[r]);
    }
  };
  __m512bh weights[outs];
  int k = 0;
  for (; k + kColumns <= t.in; k += kColumns) {
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const uint8_t* at = w + o * row_bytes + k * kSize;
      Simd::prefetch(at + kAhead);
      weights[o] = load_weights<codes>(at);
    }
    add(k, weights, [](const uint16_t* p) { return Simd::iload(p); });
  }
  if (k < t.in) {
    const __mmask32 rest = (1u << (t.in - k)) - 1;
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const uint8_t* at = w + o * row_bytes + k * kSize;
      if constexpr (codes) weights[o] = load_weights<codes>(at);
      if constexpr (!codes) weights[o] = as_pairs(_mm512_maskz_loadu_epi16(rest, at));
    }
    add(k, weights, [rest](const uint16_t* p) { return _mm512_maskz_loadu_epi16(rest, p); });
  }
  for (int r = 0; r < rows; ++r) {
    const auto sum = [&](int o) { return o < outs ? acc[o < outs ? o : 0][r] : Simd::zero(); };
    store_quad<outs>(t, out, row + r, Simd::sum4(sum(0), sum(1), sum(2), sum(3)));
  }
}

template <bool codes, int panels, int rows>
void panels_tile(const DenseTile& t, int panel, int row) {
  const int pairs = (t.in + 1) / 2;
  constexpr int kPairBytes = codes ? 32 : 64;
  const int64_t panel_bytes = int64_t{pairs} * kPairBytes;
  const uint8_t* w = static_cast<const uint8_t*>(t.w) + panel * panel_bytes;
  const uint8_t* ahead = w + panels * panel_bytes;
  const uint16_t* x[rows];
  float* y[rows];
  for (int r = 0; r < rows; ++r) {
    x[r] = rounded_row(t, row + r);
    y[r] = output_row(t, row + r);
  }
  F acc[panels][rows];
#pragma GCC unroll 8
  for (int v = 0; v < panels; ++v) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) acc[v][r] = Simd::zero();
  }
  for (int pair = 0; pair < pairs; ++pair) {
    __m512bh weights[panels];
#pragma GCC unroll 8
    for (int v = 0; v < panels; ++v) {
      Simd::prefetch(ahead + (pair * panels + v) * kPairBytes);
      weights[v] = load_weights<codes>(w + v * panel_bytes + pair * kPairBytes);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      int32_t two;
      __builtin_memcpy(&two, x[r] + 2 * pair, sizeof two);
      const __m512bh values = as_pairs(Simd::iset(two));
#pragma GCC unroll 8
      for (int v = 0; v < panels; ++v) acc[v][r] = _mm512_dpbf16_ps(acc[v][r], weights[v], values);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < panels; ++v) store_sums<rows>(t, (panel + v) * kPanel, y, acc[v]);
}

// All rows while the panels are near.
template <bool codes, int panels, int most_rows>
void rows_of_panels(const DenseTile& t, int panel) {
  for_row_tiles<most_rows>(
      0, t.rows, [&]<int rows>(int row) { panels_tile<codes, panels, rows>(t, panel, row); });
}

template <bool codes>
void dense_stored(const DenseTile& t) {
  if (!t.panels) {
    for_row_tiles<4>(0, t.rows, [&]<int rows>(int row) {
      for_row_tiles<4>(0, t.out,
                       [&]<int outs>(int out) { row_major_tile<codes, outs, rows>(t, out, row); });
    });
    return;
  }
  const int total = (t.out + kPanel - 1) / kPanel;
  if (t.rows <= 4) {  // few chains a panel: more panels hide the sums' latency
    for_row_tiles<4>(0, total,
                     [&]<int panels>(int panel) { rows_of_panels<codes, panels, 4>(t, panel); });
  } else {
    for_row_tiles<2>(
        0, total, [&]<int panels>(int panel) { rows_of_panels<codes, panels, kTile>(t, panel); });
  }
}

void dense(const DenseTile& t) {
  if (t.scales) return dense_stored<true>(t);
  dense_stored<false>(t);
}

}  // namespace

static_assert(kRowUnit % kTile == 0);

const Bf16Kernels kAvx512Bf16Products = {
    .row_unit = kTile, .round = round, .product = product, .round_row = round_row, .dense = dense};

}  // namespace smore
