// Products with bfloat16 weights by AVX-512's own instruction: even and odd pairs of columns in a
// chain each, whatever the tile.

#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/tiles.inl"

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

template <int rows>
[[gnu::always_inline]] inline void add_pair(const uint8_t* weights, const uint16_t* x, F* acc) {
  const __m512bh w = as_pairs(Simd::iload(weights));
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    int32_t pair;
    __builtin_memcpy(&pair, x + 2 * r, sizeof pair);
    acc[r] = _mm512_dpbf16_ps(acc[r], w, as_pairs(Simd::iset(pair)));
  }
}

template <int rows>
void product_tile(const Panels& w, int panel, const uint16_t* x, int row, const ProductTarget& t) {
  const uint8_t* weights = w.data + panel * w.panel_bytes;
  const uint8_t* next = weights + w.panel_bytes;
  const int pairs = (w.columns + 1) / 2;
  F even[rows], odd[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) even[r] = odd[r] = Simd::zero();
  int pair = 0;
  for (; pair + 2 <= pairs; pair += 2) {
    Simd::prefetch(next + pair * 64);
    Simd::prefetch(next + pair * 64 + 64);
    add_pair<rows>(weights + pair * 64, x + 2 * pair * rows, even);
    add_pair<rows>(weights + pair * 64 + 64, x + 2 * (pair + 1) * rows, odd);
  }
  if (pair < pairs) add_pair<rows>(weights + pair * 64, x + 2 * pair * rows, even);
  const int first = panel * kPanel;
  const int outs = w.outs - first;
  const F bias = t.bias ? load_outputs(t.bias + first, outs) : Simd::zero();
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) {
    const F sum = Simd::add(even[r], odd[r]);
    store_outputs(t.y + (row + r) * t.y_stride + first, Simd::add(sum, bias), outs);
  }
}

void product(const Panels& w, const uint16_t* x, const ProductTarget& t) {
  const int64_t stride = (w.columns + 1) / 2 * 2;
  for_row_tiles<kTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
    for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
      product_tile<rows>(w, panel, x + row * stride, row, t);
    }
  });
}

}  // namespace

const Bf16Kernels kAvx512Bf16Products = {.round = round, .product = product};

}  // namespace smore
