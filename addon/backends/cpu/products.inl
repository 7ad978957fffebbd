// Matrix products over packed panels, in terms of Simd. One order per (row, output): int8 products
// are exact within a block and summed over blocks in turn; float products are summed over the
// columns in two chains per slab, slab after slab. Tiles only choose which results share a load.

#include "backends/cpu/kernels.h"
#include "backends/cpu/tiles.inl"

namespace smore {
namespace {

constexpr int kParts = kPanel / Simd::N;  // vectors across a panel
constexpr int kGroups = kBlock / 4;       // vectors of codes of a block: four columns a lane
constexpr int kSlab = 256;                // columns unpacked to float at a time
constexpr int kVectorBytes = 4 * Simd::N;
constexpr size_t kGroupBytes = 4 * kPanel;

constexpr int code_bits(DType dtype) {
  switch (dtype) {
    case DType::kQ5_0:
    case DType::kQ5_1:
    case DType::kQ5_K:
      return 5;
    case DType::kQ6_K:
      return 6;
    case DType::kQ8_0:
      return 8;
    default:
      return 4;
  }
}

// What is to be taken from a code to get the signed number that the scale multiplies.
constexpr int code_offset(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return 8;
    case DType::kQ5_0:
      return 16;
    case DType::kQ6_K:
      return 32;
    default:
      return 0;
  }
}

constexpr bool has_minimum(DType dtype) {
  return dtype == DType::kQ4_1 || dtype == DType::kQ5_1 || dtype == DType::kQ4_K ||
         dtype == DType::kQ5_K;
}

constexpr bool has_supers(DType dtype) { return dtype == DType::kQ4_K || dtype == DType::kQ5_K; }

template <DType dtype>
[[gnu::always_inline]] inline void load_codes(const Panels& w, const uint8_t* panel, int block,
                                              int part, I codes[kGroups]) {
  const size_t lane = static_cast<size_t>(part) * kVectorBytes;
  if constexpr (code_bits(dtype) == 8) {
    const uint8_t* at = panel + static_cast<size_t>(block) * kGroups * kGroupBytes + lane;
    for (int g = 0; g < kGroups; ++g) codes[g] = Simd::iload(at + g * kGroupBytes);
    return;
  }
  const I low = Simd::iset(0x0f0f0f0f);
  const uint8_t* at = panel + static_cast<size_t>(block) * (kGroups / 2) * kGroupBytes + lane;
#pragma GCC unroll 4
  for (int g = 0; g < kGroups / 2; ++g) {
    const I both = Simd::iload(at + g * kGroupBytes);
    codes[g] = Simd::iand(both, low);
    codes[g + 4] = Simd::iand(Simd::shr<4>(both), low);
  }
  if constexpr (code_bits(dtype) == 5) {
    const I bit = Simd::iset(0x10101010);
    const I high = Simd::iload(panel + w.high + block * kGroupBytes + lane);
    codes[0] = Simd::ior(codes[0], Simd::iand(Simd::shl<4>(high), bit));
    codes[1] = Simd::ior(codes[1], Simd::iand(Simd::shl<3>(high), bit));
    codes[2] = Simd::ior(codes[2], Simd::iand(Simd::shl<2>(high), bit));
    codes[3] = Simd::ior(codes[3], Simd::iand(Simd::shl<1>(high), bit));
    codes[4] = Simd::ior(codes[4], Simd::iand(high, bit));
    codes[5] = Simd::ior(codes[5], Simd::iand(Simd::shr<1>(high), bit));
    codes[6] = Simd::ior(codes[6], Simd::iand(Simd::shr<2>(high), bit));
    codes[7] = Simd::ior(codes[7], Simd::iand(Simd::shr<3>(high), bit));
  } else if constexpr (code_bits(dtype) == 6) {
    const I bits = Simd::iset(0x30303030);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const I high = Simd::iload(panel + w.high + (2 * block + half) * kGroupBytes + lane);
      I* four = codes + 4 * half;
      four[0] = Simd::ior(four[0], Simd::iand(Simd::shl<4>(high), bits));
      four[1] = Simd::ior(four[1], Simd::iand(Simd::shl<2>(high), bits));
      four[2] = Simd::ior(four[2], Simd::iand(high, bits));
      four[3] = Simd::ior(four[3], Simd::iand(Simd::shr<2>(high), bits));
    }
  }
}

// Scales of a block for the lanes of one part: value = scale * code - or + minimum.
struct LaneScales {
  F scale;
  F second;  // Q6_K: the scale of the last 16 columns
  F minimum;
};

template <DType dtype>
[[gnu::always_inline]] inline LaneScales load_scales(const Panels& w, const uint8_t* panel,
                                                     int block, int part) {
  LaneScales s{Simd::zero(), Simd::zero(), Simd::zero()};
  const int lane = part * Simd::N;
  if constexpr (dtype == DType::kQ6_K) {
    const auto* supers = reinterpret_cast<const uint16_t*>(panel + w.supers) + block / 8 * kPanel;
    const auto* small = reinterpret_cast<const int8_t*>(panel + w.scales) + block * 2 * kPanel;
    const F super = Simd::load_half(supers + lane);
    s.scale = Simd::mul(super, Simd::to_float(Simd::load_i8(small + lane)));
    s.second = Simd::mul(super, Simd::to_float(Simd::load_i8(small + kPanel + lane)));
  } else if constexpr (has_supers(dtype)) {
    const auto* supers =
        reinterpret_cast<const uint16_t*>(panel + w.supers) + block / 8 * 2 * kPanel;
    const uint8_t* small = panel + w.scales + block * 2 * kPanel;
    s.scale =
        Simd::mul(Simd::load_half(supers + lane), Simd::to_float(Simd::load_u8(small + lane)));
    s.minimum =
        Simd::sub(Simd::zero(), Simd::mul(Simd::load_half(supers + kPanel + lane),
                                          Simd::to_float(Simd::load_u8(small + kPanel + lane))));
  } else {
    constexpr int kHalves = has_minimum(dtype) ? 2 : 1;
    const auto* at = reinterpret_cast<const uint16_t*>(panel + w.scales) + block * kHalves * kPanel;
    s.scale = Simd::load_half(at + lane);
    if constexpr (has_minimum(dtype)) s.minimum = Simd::load_half(at + kPanel + lane);
  }
  return s;
}

// Adds one block's products of `rows` activation rows, out of a tile of `width`, to acc.
template <DType dtype, int rows, int width>
[[gnu::always_inline]] inline void int8_block(const I* codes, const LaneScales& s, const int8_t* x,
                                              const BlockScale* xs, F* acc) {
  constexpr int bits = code_bits(dtype);
  constexpr int offset = (bits == 8 ? Simd::kCodeOffset8 : code_offset(dtype)) / 8;
  constexpr bool halves = dtype == DType::kQ6_K;  // each half of the block has its scale
  I sums[rows];
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    sums[r] = Simd::iset(offset * (halves ? xs[r].minus_8_first_half : xs[r].minus_8_sum));
  }
  Simd::dot<bits, halves ? kGroups / 2 : kGroups, rows, width>(codes, x, sums);
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    acc[r] = Simd::fma(Simd::to_float(sums[r]), Simd::mul(s.scale, Simd::set(xs[r].scale)), acc[r]);
    if constexpr (has_minimum(dtype)) {
      acc[r] = Simd::fma(s.minimum, Simd::set(xs[r].scaled_sum), acc[r]);
    }
    if constexpr (halves) {
      sums[r] = Simd::iset(offset * (xs[r].minus_8_sum - xs[r].minus_8_first_half));
    }
  }
  if constexpr (halves) {
    Simd::dot<bits, kGroups / 2, rows, width>(codes + kGroups / 2, x + kBlock / 2 * width, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      acc[r] =
          Simd::fma(Simd::to_float(sums[r]), Simd::mul(s.second, Simd::set(xs[r].scale)), acc[r]);
    }
  }
}

template <DType dtype, int rows>
void int8_tile(const Panels& w, const uint8_t* panel, int part, const QuantRows& x, int row,
               F acc[rows]) {
  const int blocks = w.columns / kBlock;
  const int8_t* codes_x = x.codes + static_cast<int64_t>(row) * x.columns;
  const BlockScale* scales_x = x.scales + static_cast<int64_t>(row) * blocks;
  F sums[rows];
  for (int r = 0; r < rows; ++r) sums[r] = Simd::zero();
  const size_t ahead = w.panel_bytes / blocks;
  for (int block = 0; block < blocks; ++block) {
    // The next panel comes while this one is used; the hardware's own guess ends with each page.
    const uint8_t* next = panel + w.panel_bytes + block * ahead;
    for (size_t line = 0; line < ahead; line += 64) Simd::prefetch(next + line);
    I codes[kGroups];
    load_codes<dtype>(w, panel, block, part, codes);
    if constexpr (code_bits(dtype) == 8) {
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) codes[g] = Simd::code8(codes[g]);
    }
    const LaneScales scales = load_scales<dtype>(w, panel, block, part);
    constexpr int kTogether = rows < 4 ? rows : 4;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r += kTogether) {
      int8_block<dtype, kTogether, rows>(codes, scales, codes_x + block * kBlock * rows + 4 * r,
                                         scales_x + block * rows + r, sums + r);
    }
  }
  for (int r = 0; r < rows; ++r) acc[r] = sums[r];
}

template <DType dtype, int rows>
void int8_rows(const Panels& w, const QuantRows& x, const ProductTarget& t, int panel, int row) {
  const uint8_t* data = w.data + panel * w.panel_bytes;
  for (int part = 0; part < kParts; ++part) {
    const int first = panel * kPanel + part * Simd::N;
    const int outs = w.outs - first;
    F acc[rows];
    int8_tile<dtype, rows>(w, data, part, x, row, acc);
    const F bias = t.bias ? load_outputs(t.bias + first, outs) : Simd::zero();
    for (int r = 0; r < rows; ++r) {
      store_outputs(t.y + (row + r) * t.y_stride + first, Simd::add(acc[r], bias), outs);
    }
  }
}

template <DType dtype>
void int8_panels(const Panels& w, const QuantRows& x, const ProductTarget& t) {
  for_row_tiles<Simd::kRowTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
    for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
      int8_rows<dtype, rows>(w, x, t, panel, row);
    }
  });
}

void int8_product(const Panels& w, const QuantRows& x, const ProductTarget& t) {
  switch (w.dtype) {
    case DType::kQ4_0:
      return int8_panels<DType::kQ4_0>(w, x, t);
    case DType::kQ4_1:
      return int8_panels<DType::kQ4_1>(w, x, t);
    case DType::kQ5_0:
      return int8_panels<DType::kQ5_0>(w, x, t);
    case DType::kQ5_1:
      return int8_panels<DType::kQ5_1>(w, x, t);
    case DType::kQ8_0:
      return int8_panels<DType::kQ8_0>(w, x, t);
    case DType::kQ4_K:
      return int8_panels<DType::kQ4_K>(w, x, t);
    case DType::kQ5_K:
      return int8_panels<DType::kQ5_K>(w, x, t);
    case DType::kQ6_K:
      return int8_panels<DType::kQ6_K>(w, x, t);
    default:
      return;
  }
}

// Unpacks one block of a quantised panel to float: [kBlock][kPanel].
template <DType dtype>
void unpack_block(const Panels& w, const uint8_t* panel, int block, float* slab) {
  for (int part = 0; part < kParts; ++part) {
    I codes[kGroups];
    load_codes<dtype>(w, panel, block, part, codes);
    const LaneScales s = load_scales<dtype>(w, panel, block, part);
    const F offset = Simd::set(static_cast<float>(code_offset(dtype)));
    float* to = slab + part * Simd::N;
    for (int g = 0; g < kGroups; ++g) {
      const F scale = dtype == DType::kQ6_K && g >= kGroups / 2 ? s.second : s.scale;
      // Sign extension of the top byte serves signed codes; the others are below 128.
      const I bytes[4] = {Simd::sar<24>(Simd::shl<24>(codes[g])),
                          Simd::sar<24>(Simd::shl<16>(codes[g])),
                          Simd::sar<24>(Simd::shl<8>(codes[g])), Simd::sar<24>(codes[g])};
      for (int b = 0; b < 4; ++b) {
        const F code = Simd::sub(Simd::to_float(bytes[b]), offset);
        F value = Simd::mul(code, scale);
        if constexpr (has_minimum(dtype)) value = Simd::add(value, s.minimum);
        Simd::store(to + (4 * g + b) * kPanel, value);
      }
    }
  }
}

template <DType dtype>
void unpack_blocks(const Panels& w, const uint8_t* panel, int column, int count, float* slab) {
  for (int block = column / kBlock; block < (column + count) / kBlock;
       ++block, slab += kBlock * kPanel) {
    unpack_block<dtype>(w, panel, block, slab);
  }
}

// Columns [column, column + count) of a panel as floats, [count][kPanel]: unpacked into `slab`, or
// where they lie. Slabs start at multiples of kSlab.
const float* unpack_slab(const Panels& w, const uint8_t* panel, int column, int count,
                         float* slab) {
  switch (w.dtype) {
    case DType::kF32:
      return reinterpret_cast<const float*>(panel) + static_cast<int64_t>(column) * kPanel;
    case DType::kF16: {
      const auto* half =
          reinterpret_cast<const uint16_t*>(panel) + static_cast<int64_t>(column) * kPanel;
      for (int i = 0; i < count * kPanel; i += Simd::N)
        Simd::store(slab + i, Simd::load_half(half + i));
      return slab;
    }
    case DType::kBF16: {
      // Columns lie in pairs, the even one in the low half of a lane.
      const uint8_t* pairs = panel + static_cast<int64_t>(column) * 2 * kPanel;
      const I high = Simd::iset(static_cast<int32_t>(0xffff0000u));
      for (int i = 0; i < (count + 1) / 2; ++i) {
        for (int part = 0; part < kParts; ++part) {
          const I pair = Simd::iload(pairs + (i * kPanel + part * Simd::N) * 4);
          float* to = slab + 2 * i * kPanel + part * Simd::N;
          Simd::store(to, Simd::from_bits(Simd::shl<16>(pair)));
          Simd::store(to + kPanel, Simd::from_bits(Simd::iand(pair, high)));
        }
      }
      return slab;
    }
    case DType::kQ4_0:
      unpack_blocks<DType::kQ4_0>(w, panel, column, count, slab);
      return slab;
    case DType::kQ4_1:
      unpack_blocks<DType::kQ4_1>(w, panel, column, count, slab);
      return slab;
    case DType::kQ5_0:
      unpack_blocks<DType::kQ5_0>(w, panel, column, count, slab);
      return slab;
    case DType::kQ5_1:
      unpack_blocks<DType::kQ5_1>(w, panel, column, count, slab);
      return slab;
    case DType::kQ8_0:
      unpack_blocks<DType::kQ8_0>(w, panel, column, count, slab);
      return slab;
    case DType::kQ4_K:
      unpack_blocks<DType::kQ4_K>(w, panel, column, count, slab);
      return slab;
    case DType::kQ5_K:
      unpack_blocks<DType::kQ5_K>(w, panel, column, count, slab);
      return slab;
    case DType::kQ6_K:
      unpack_blocks<DType::kQ6_K>(w, panel, column, count, slab);
      return slab;
    case DType::kI32:
      break;
  }
  return nullptr;
}

// y (+)= slab * x for `rows` rows and the outputs of one part; even and odd columns in a chain
// each.
template <int rows>
void float_tile(const float* slab, int count, const float* x, int64_t x_stride, bool first,
                float* y, int64_t y_stride, int outs) {
  F even[rows], odd[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) even[r] = odd[r] = Simd::zero();
  int k = 0;
  for (; k + 2 <= count; k += 2) {
    const F w_even = Simd::load(slab + k * kPanel);
    const F w_odd = Simd::load(slab + (k + 1) * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      even[r] = Simd::fma(Simd::set(x[r * x_stride + k]), w_even, even[r]);
      odd[r] = Simd::fma(Simd::set(x[r * x_stride + k + 1]), w_odd, odd[r]);
    }
  }
  if (k < count) {
    const F w_even = Simd::load(slab + k * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      even[r] = Simd::fma(Simd::set(x[r * x_stride + k]), w_even, even[r]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    F sum = Simd::add(even[r], odd[r]);
    if (!first) sum = Simd::add(load_outputs(y + r * y_stride, outs), sum);
    store_outputs(y + r * y_stride, sum, outs);
  }
}

void float_product(const Panels& w, const float* x, int64_t x_stride, const ProductTarget& t) {
  alignas(64) float scratch[kSlab * kPanel];
  for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
    const uint8_t* data = w.data + panel * w.panel_bytes;
    for (int column = 0; column < w.columns; column += kSlab) {
      const int count = w.columns - column < kSlab ? w.columns - column : kSlab;
      const float* slab = unpack_slab(w, data, column, count, scratch);
      for (int part = 0; part < kParts; ++part) {
        const int first = panel * kPanel + part * Simd::N;
        for_row_tiles<Simd::kFloatTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
          float_tile<rows>(slab + part * Simd::N, count, x + row * x_stride + column, x_stride,
                           column == 0, t.y + row * t.y_stride + first, t.y_stride, w.outs - first);
        });
      }
    }
    if (!t.bias) continue;
    for (int row = t.row_begin; row < t.row_end; ++row) {
      for (int part = 0; part < kParts; ++part) {
        const int first = panel * kPanel + part * Simd::N;
        float* y = t.y + row * t.y_stride + first;
        store_outputs(y,
                      Simd::add(load_outputs(y, w.outs - first),
                                load_outputs(t.bias + first, w.outs - first)),
                      w.outs - first);
      }
    }
  }
}

// Writes 32 values as int8 with one scale. Values that are not finite are found in their bits,
// where they exceed every number, and make the scale NaN, so that they reach the result.
BlockScale quantize_block(const float* x, int8_t* codes) {
  const I magnitude = Simd::iset(0x7fffffff);
  I most = Simd::iset(0);
  for (int i = 0; i < kBlock; i += Simd::N) {
    most = Simd::imax(most, Simd::iand(Simd::bits(Simd::load(x + i)), magnitude));
  }
  const int32_t top_bits = Simd::max_of(most);
  float top;
  __builtin_memcpy(&top, &top_bits, sizeof top);
  const bool finite = top_bits < 0x7f800000;
  const float inverse = finite && top > 1e-36f ? 127.0f / top : 0.0f;  // less rounds to zero
  I halves[2] = {Simd::iset(0), Simd::iset(0)};
  for (int i = 0; i < kBlock; i += Simd::N) {
    const F scaled = Simd::mul(Simd::load(x + i), Simd::set(inverse));
    const I code = finite ? Simd::round(scaled) : Simd::iset(0);
    Simd::store_i8(codes + i, code);
    halves[2 * i / kBlock] = Simd::iadd(halves[2 * i / kBlock], code);
  }
  const int32_t first = Simd::sum(halves[0]);
  const int32_t sum = first + Simd::sum(halves[1]);
  const float scale = finite ? top / 127.0f : __builtin_nanf("");
  return {scale, scale * static_cast<float>(sum), -8 * sum, -8 * first};
}

template <int rows>
void quantize_tile(const float* x, int columns, int8_t* codes, BlockScale* scales) {
  for (int block = 0; block < columns / kBlock; ++block) {
    for (int r = 0; r < rows; ++r) {
      alignas(64) int8_t row[kBlock];
      scales[block * rows + r] =
          quantize_block(x + static_cast<int64_t>(r) * columns + block * kBlock, row);
      for (int g = 0; g < kGroups; ++g) {
        __builtin_memcpy(codes + 4 * ((block * kGroups + g) * rows + r), row + 4 * g, 4);
      }
    }
  }
}

void quantize(const float* x, int columns, int row_begin, int row_end, int8_t* codes,
              BlockScale* scales) {
  const int blocks = columns / kBlock;
  for_row_tiles<Simd::kRowTile>(row_begin, row_end, [&]<int rows>(int row) {
    const int64_t first = static_cast<int64_t>(row) * columns;
    quantize_tile<rows>(x + first, columns, codes + first,
                        scales + static_cast<int64_t>(row) * blocks);
  });
}

}  // namespace
}  // namespace smore
