// Products of blocks of integers by tiles of sixteen rows, in terms of Tiles; fewer rows go the way
// of AVX-512. The integers are the same and so is the order of the float32 sums, so results equal
// those of AVX-512 bit for bit. A tile of sixteen rows lies as [blocks][16][kBlock].

#include "backends/cpu/integer_products.inl"

namespace smore {
namespace {

constexpr int kTile = Tiles::kSize;
static_assert(kTile == Simd::kRowTile && kTile == Simd::N && kTile == kPanel);

// The codes of a block as signed numbers: where they lie, or made from them in `scratch`.
template <DType dtype>
[[gnu::always_inline]] inline const int8_t* signed_codes(const Panels& w, const uint8_t* panel,
                                                         int block, int8_t* scratch) {
  if constexpr (code_bits(dtype) == 8) {
    return reinterpret_cast<const int8_t*>(panel) + block * kGroups * kGroupBytes;
  }
  const I offset = _mm512_set1_epi8(code_offset(dtype));
  I codes[kGroups];
  load_codes<dtype>(w, panel, block, 0, codes);
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    _mm512_store_si512(scratch + g * kGroupBytes, _mm512_sub_epi8(codes[g], offset));
  }
  return scratch;
}

// Adds a block's exact sums to the results of all rows.
[[gnu::always_inline]] inline void add_sums(const int32_t* sums, F scale, const BlockScale* xs,
                                            F* acc) {
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) {
    acc[r] = add_sum(Simd::iload(sums + r * kTile), scale, xs[r], acc[r]);
  }
}

template <DType dtype>
void tile_rows(const Tiles& tiles, const Panels& w, const QuantRows& x, const ProductTarget& t,
               int panel, int row) {
  const int blocks = w.columns / kBlock;
  const uint8_t* data = w.data + panel * w.panel_bytes;
  const int8_t* values = x.codes + static_cast<int64_t>(row) * x.columns;
  const BlockScale* xs = x.scales + static_cast<int64_t>(row) * blocks;
  LowSums<kTile> low(x, row);
  alignas(64) int8_t scratch[kGroups * kGroupBytes];
  alignas(64) int32_t sums[kTile * kTile];
  F acc[kTile];
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) acc[r] = Simd::zero();
  for (int block = 0; block < blocks; ++block, values += kTile * kBlock, xs += kTile) {
    prefetch_next(w, data, block);
    const int8_t* codes = signed_codes<dtype>(w, data, block, scratch);
    const LaneScales s = load_scales<dtype>(w, data, block, 0);
    if constexpr (dtype == DType::kQ6_K) {
      tiles.product<kGroups / 2>(values, codes, sums);
      add_sums(sums, s.scale, xs, acc);
      tiles.product<kGroups / 2>(values + kBlock / 2, codes + kGroups / 2 * kGroupBytes, sums);
      add_sums(sums, s.second, xs, acc);
    } else {
      tiles.product<kGroups>(values, codes, sums);
      add_sums(sums, s.scale, xs, acc);
    }
    if constexpr (has_minimum(dtype)) {
#pragma GCC unroll 16
      for (int r = 0; r < kTile; ++r) {
        acc[r] = Simd::fma(s.minimum, Simd::set(xs[r].scaled_sum), acc[r]);
      }
    }
    if (low.any(block)) {
      I dot_codes[kGroups];
      load_dot_codes<dtype>(w, data, block, 0, dot_codes);
      low.add<dtype>(block, dot_codes, s);
    }
  }
  low.add_to(acc);
  store_rows<kTile>(w, t, panel * kPanel, row, acc);
}

template <DType dtype>
void tile_panels(const Panels& w, const QuantRows& x, const ProductTarget& t) {
  const int tiled = t.row_begin + (t.row_end - t.row_begin) / kTile * kTile;
  if (tiled > t.row_begin) {
    const Tiles tiles;
    for (int row = t.row_begin; row < tiled; row += kTile) {
      for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
        tile_rows<dtype>(tiles, w, x, t, panel, row);
      }
    }
  }
  for_row_tiles<kTile / 2>(tiled, t.row_end, [&]<int rows>(int row) {
    for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
      integer_rows<dtype, rows>(w, x, t, panel, row);
    }
  });
}

void product(const Panels& w, const QuantRows& x, const ProductTarget& t) {
  for_quantised(w.dtype, [&]<DType dtype>() { tile_panels<dtype>(w, x, t); });
}

void quantize(const float* x, int row_begin, int row_end, const QuantRows& to) {
  for_row_tiles<kTile>(row_begin, row_end, [&]<int rows>(int row) {
    if constexpr (rows == kTile) {
      int8_t* tile = to.codes + static_cast<int64_t>(row) * to.columns;
      quantize_tile<rows>(x, to, row, [&](int block, int r, const int8_t* codes) {
        __builtin_memcpy(tile + (block * kTile + r) * kBlock, codes, kBlock);
      });
    } else {
      quantize_rows<rows>(x, to, row);
    }
  });
}

int64_t exercise(int64_t rounds) {
  const Tiles tiles;
  alignas(64) int8_t values[kTile * kBlock] = {};
  alignas(64) int8_t codes[kGroups * kGroupBytes] = {};
  alignas(64) int32_t sums[kTile * kTile];
  for (int64_t i = 0; i < rounds; ++i) tiles.product<kGroups>(values, codes, sums);
  return rounds * kTile * kTile * kBlock * 2;
}

constexpr IntegerKernels kTileProducts = {
    .quantize = quantize, .product = product, .exercise = exercise};

}  // namespace
}  // namespace smore
