// Products of blocks of integers by tiles of sixteen rows, in terms of Tiles; fewer rows go the way
// of AVX-512. The integers are the same and so is the order of the float32 sums, so results equal
// those of AVX-512 bit for bit. A tile of sixteen rows lies as [blocks][16][kBlock]; so do its high
// digits, of blocks that have any.

#include "backends/cpu/quantize_rows.inl"

namespace smore {
namespace {

constexpr int kTile = Tiles::kSize;
static_assert(kTile == kRowUnit && kTile == Simd::N && kTile == kPanel);

// The codes of a block as signed numbers: where they lie, or made from them in `scratch`.
template <DType dtype>
[[gnu::always_inline]] inline const int8_t* signed_codes(const Panels& w, const uint8_t* panel,
                                                         int block, int8_t* scratch) {
  if constexpr (code_bits(dtype) == 8) {
    return reinterpret_cast<const int8_t*>(panel) + block * kGroups * kGroupBytes;
  }
  const I offset = _mm512_set1_epi8(code_offset(dtype));
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) {
    const I codes = load_group<dtype>(w, {panel, 0}, block, g);
    _mm512_store_si512(scratch + g * kGroupBytes, _mm512_sub_epi8(codes, offset));
  }
  return scratch;
}

// The exact products of groups of a block of sixteen rows, [kTile][kTile]; `high` null or the high
// digits.
template <int groups>
[[gnu::always_inline]] inline void tile_sums(const Tiles& tiles, const int8_t* low,
                                             const int8_t* high, const int8_t* codes,
                                             int32_t* sums) {
  tiles.product<groups>(low, codes, sums);
  if (high == nullptr) return;
  alignas(64) int32_t more[kTile * kTile];
  tiles.product<groups>(high, codes, more);
  for (int r = 0; r < kTile; ++r) {
    const I sum = Simd::iload(sums + r * kTile);
    const I scaled = Simd::shl<kDigitBits>(Simd::iload(more + r * kTile));
    _mm512_store_si512(sums + r * kTile, Simd::iadd(sum, scaled));
  }
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
  const TileRows<kTile> tile(x, row);
  const BlockScale* xs = tile.scales;
  const Ahead ahead{data + w.panel_bytes, w.panel_bytes / blocks};
  int high_blocks = 0;
  alignas(64) int8_t scratch[kGroups * kGroupBytes];
  alignas(64) int32_t sums[kTile * kTile];
  F acc[kTile];
#pragma GCC unroll 16
  for (int r = 0; r < kTile; ++r) acc[r] = Simd::zero();
  for (int block = 0; block < blocks; ++block, xs += kTile) {
    prefetch(ahead, block);
    const int8_t* codes = signed_codes<dtype>(w, data, block, scratch);
    const LaneScales s = load_scales<dtype>(w, {data, 0}, block);
    const int8_t* low = tile.codes + block * kTile * kBlock;
    const int8_t* high = nullptr;
    if (tile.high_end[block] > high_blocks) high = tile.high + high_blocks++ * kTile * kBlock;
    if constexpr (dtype == DType::kQ6_K) {
      constexpr int kHalf = kBlock / 2;
      tile_sums<kGroups / 2>(tiles, low, high, codes, sums);
      add_sums(sums, s.scale, xs, acc);
      tile_sums<kGroups / 2>(tiles, low + kHalf, high ? high + kHalf : nullptr,
                             codes + kGroups / 2 * kGroupBytes, sums);
      add_sums(sums, s.second, xs, acc);
    } else {
      tile_sums<kGroups>(tiles, low, high, codes, sums);
      add_sums(sums, s.scale, xs, acc);
    }
    if constexpr (has_minimum(dtype)) {
#pragma GCC unroll 16
      for (int r = 0; r < kTile; ++r) {
        acc[r] = Simd::fma(s.minimum, Simd::set(xs[r].scaled_sum), acc[r]);
      }
    }
  }
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
  for_row_tiles<Simd::kRowTile>(tiled, t.row_end, [&]<int rows>(int row) {
    for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
      integer_rows<dtype, 1, rows>(w, x, t, panel, row);
    }
  });
}

void product(const Panels& w, const QuantRows& x, const ProductTarget& t) {
  for_quantised(w.dtype, [&]<DType dtype>() { tile_panels<dtype>(w, x, t); });
}

void quantize_sixteen(const float* x, const QuantRows& to, int row) {
  constexpr int kParts = kTile / kTogether;
  const int blocks = to.columns / kBlock;
  const int64_t first = int64_t{row} * to.columns;
  const float* from[kTile];
  RowLimits limits[kParts];
  for (int r = 0; r < kTile; ++r) from[r] = x + int64_t{r} * to.columns;
  for (int i = 0; i < kParts; ++i) {
    limits[i] = find_limits<kTogether>(from + i * kTogether, to.columns, to.digits);
  }
  const auto put = [](const int8_t(*digits)[kBlock], int8_t* at) {
    __builtin_memcpy(at, digits, kTogether * kBlock);
  };
  BlockCodes parts[kParts];
  int32_t end = 0;
  for (int block = 0; block < blocks; ++block) {
    bool any_loud = false;
    for (int i = 0; i < kParts; ++i) {
      const int r = i * kTogether;
      BlockCodes& part = parts[i];
      find_most<kTogether>(from + r, block * kBlock, limits[i], part);
      round_rows<kTogether>(from + r, block * kBlock, limits[i], part,
                            to.scales + int64_t{row} * blocks + block * kTile + r);
      put(part.low, to.codes + first + (block * kTile + r) * kBlock);
      any_loud = any_loud || part.any_loud;
    }
    for (int i = 0; i < kParts && any_loud; ++i) {
      if (!parts[i].any_loud) __builtin_memset(parts[i].high, 0, sizeof parts[i].high);
      put(parts[i].high, to.high + first + (end * kTile + i * kTogether) * kBlock);
    }
    end += any_loud;
    to.high_end[int64_t{row} * blocks + block] = end;
  }
}

void quantize(const float* x, int row_begin, int row_end, const QuantRows& to) {
  const auto lies = [&](int row) { return x + int64_t{row - row_begin} * to.columns; };
  const int tiled = row_begin + (row_end - row_begin) / kTile * kTile;
  for (int row = row_begin; row < tiled; row += kTile) quantize_sixteen(lies(row), to, row);
  for_row_tiles<Simd::kRowTile>(
      tiled, row_end, [&]<int rows>(int row) { quantize_tile<rows>(lies(row), to, row); });
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
    .row_unit = kTile, .quantize = quantize, .product = product, .exercise = exercise};

}  // namespace
}  // namespace smore
