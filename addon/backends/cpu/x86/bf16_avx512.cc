// Products with bfloat16 weights by AVX-512's own instruction for pairs of columns, one pair after
// the other whatever the tile.

#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/x86/dense_pairs_avx512.inl"

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
    round_tile<rows>(x + static_cast<int64_t>(row - row_begin) * columns, columns,
                     values + row * stride);
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

struct Bf16Pairs {
  using Value = uint16_t;
  using Sum = F;
  static constexpr int kBytes = 2;

  static const uint16_t* rows(const DenseTile& t) { return t.rounded; }
  static int64_t row_bytes(int in) { return int64_t{in} * kBytes; }
  static F zero() { return Simd::zero(); }
  static I weights(const uint8_t* at) { return Simd::iload(at); }
  static I weights_part(const uint8_t* at, __mmask32 part) {
    return _mm512_maskz_loadu_epi16(part, at);
  }
  static F add(F sum, I w, I x) { return _mm512_dpbf16_ps(sum, as_pairs(w), as_pairs(x)); }
  static F floats(const DenseTile&, int, F sum) { return sum; }
};

}  // namespace

static_assert(kRowUnit % kTile == 0);

const Bf16Kernels kAvx512Bf16Products = {.row_unit = kTile,
                                         .round = round,
                                         .product = product,
                                         .round_row = round_row,
                                         .dense = dense_pairs<Bf16Pairs>};

}  // namespace smore
