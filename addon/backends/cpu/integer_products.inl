// Products of blocks of integers over packed panels, in terms of Simd. One order per (row, output):
// exact integers within a block, then a float32 sum over the blocks in turn. Tiles only choose
// which results share a load.

#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/tiles.inl"

namespace smore {
namespace {

constexpr int kParts = kPanel / Simd::N;  // vectors across a panel
constexpr int kGroups = kBlock / 4;       // vectors of codes of a block: four columns a lane
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

// Adds a block's exact sums of products to the results of a row.
[[gnu::always_inline]] inline F add_sum(I sum, F scale, const BlockScale& x, F acc) {
  return Simd::fma(Simd::to_float(sum), Simd::mul(scale, Simd::set(x.scale)), acc);
}

// The next panel comes while this one is used; the hardware's own guess ends with each page.
[[gnu::always_inline]] inline void prefetch_next(const Panels& w, const uint8_t* panel, int block) {
  const size_t ahead = w.panel_bytes / (w.columns / kBlock);
  const uint8_t* next = panel + w.panel_bytes + block * ahead;
  for (size_t line = 0; line < ahead; line += 64) Simd::prefetch(next + line);
}

// The sums of a group of rows after the products of one half of a block, or all of it.
template <int bits, int offset, int groups, bool rest, int rows, int width, bool low>
[[gnu::always_inline]] inline void digit_sums(const I* codes, const int8_t* x, const BlockScale* xs,
                                              I* sums) {
  constexpr bool first = groups < kGroups && !rest;
  const auto undo = [&](int r, int digit) {
    const auto& minus_8 = xs[r].minus_8[digit];
    return Simd::iset(offset / 8 *
                      (first  ? minus_8.first_half
                       : rest ? minus_8.all - minus_8.first_half
                              : minus_8.all));
  };
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) sums[r] = undo(r, 0);
  Simd::dot<bits, groups, rows, width>(codes, x, sums);
  if constexpr (low) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      sums[r] = Simd::iadd(Simd::shl<kDigitBits>(sums[r]), undo(r, 1));
    }
    Simd::dot<bits, groups, rows, width>(codes, x + kBlock * width, sums);
  }
}

// Adds one block's products of `rows` activation rows, out of a tile of `width`, to acc. Scales are
// of the high digit where no row has a low one.
template <DType dtype, int rows, int width, bool low>
[[gnu::always_inline]] inline void integer_block(const I* codes, const LaneScales& s,
                                                 const int8_t* x, const BlockScale* xs, F* acc) {
  constexpr int bits = code_bits(dtype);
  constexpr int offset = bits == 8 ? Simd::kCodeOffset8 : code_offset(dtype);
  constexpr bool halves = dtype == DType::kQ6_K;  // each half of the block has its scale
  constexpr int groups = halves ? kGroups / 2 : kGroups;
  I sums[rows];
  digit_sums<bits, offset, groups, false, rows, width, low>(codes, x, xs, sums);
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    acc[r] = add_sum(sums[r], s.scale, xs[r], acc[r]);
    if constexpr (has_minimum(dtype)) {
      acc[r] = Simd::fma(s.minimum, Simd::set(xs[r].scaled_sum), acc[r]);
    }
  }
  if constexpr (halves) {
    digit_sums<bits, offset, groups, true, rows, width, low>(codes + groups, x + kBlock / 2 * width,
                                                             xs, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[r] = add_sum(sums[r], s.second, xs[r], acc[r]);
  }
}

// Scales for sums of high digits only, exactly.
[[gnu::always_inline]] inline LaneScales high_scales(const LaneScales& s) {
  const F unit = Simd::set(1 << kDigitBits);
  return {Simd::mul(s.scale, unit), Simd::mul(s.second, unit), s.minimum};
}

template <DType dtype, int rows, int digits>
void integer_tile(const Panels& w, const uint8_t* panel, int part, const QuantRows& x, int row,
                  F acc[rows]) {
  const int blocks = w.columns / kBlock;
  const int8_t* codes_x = x.codes + static_cast<int64_t>(row) * x.columns * digits;
  const BlockScale* scales_x = x.scales + static_cast<int64_t>(row) * blocks;
  const uint16_t* low_x = x.low + static_cast<int64_t>(row) * blocks;
  F sums[rows];
  for (int r = 0; r < rows; ++r) sums[r] = Simd::zero();
  for (int block = 0; block < blocks; ++block) {
    prefetch_next(w, panel, block);
    I codes[kGroups];
    load_codes<dtype>(w, panel, block, part, codes);
    if constexpr (code_bits(dtype) == 8) {
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) codes[g] = Simd::code8(codes[g]);
    }
    const LaneScales scales = load_scales<dtype>(w, panel, block, part);
    const LaneScales high = digits == 2 ? high_scales(scales) : scales;
    constexpr int kTogether = rows < 4 ? rows : 4;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r += kTogether) {
      const int8_t* values = codes_x + block * digits * kBlock * rows + 4 * r;
      const BlockScale* xs = scales_x + block * rows + r;
      if (digits == 2 && (low_x[block] >> r & ((1 << kTogether) - 1)) != 0) {
        integer_block<dtype, kTogether, rows, true>(codes, scales, values, xs, sums + r);
      } else {
        integer_block<dtype, kTogether, rows, false>(codes, high, values, xs, sums + r);
      }
    }
  }
  for (int r = 0; r < rows; ++r) acc[r] = sums[r];
}

// Results of `rows` rows for the vector of outputs from `first` on.
template <int rows>
[[gnu::always_inline]] inline void store_rows(const Panels& w, const ProductTarget& t, int first,
                                              int row, const F* acc) {
  const int outs = w.outs - first;
  const F bias = t.bias ? load_outputs(t.bias + first, outs) : Simd::zero();
#pragma GCC unroll 16
  for (int r = 0; r < rows; ++r) {
    store_outputs(t.y + (row + r) * t.y_stride + first, Simd::add(acc[r], bias), outs);
  }
}

template <DType dtype, int rows, int digits>
void integer_rows(const Panels& w, const QuantRows& x, const ProductTarget& t, int panel, int row) {
  const uint8_t* data = w.data + panel * w.panel_bytes;
  for (int part = 0; part < kParts; ++part) {
    F acc[rows];
    integer_tile<dtype, rows, digits>(w, data, part, x, row, acc);
    store_rows<rows>(w, t, panel * kPanel + part * Simd::N, row, acc);
  }
}

// Calls run.operator()<dtype, digits>() for a quantised type.
template <int digits, class Run>
[[gnu::always_inline]] inline void for_quantised(DType dtype, Run&& run) {
  switch (dtype) {
    case DType::kQ4_0:
      return run.template operator()<DType::kQ4_0, digits>();
    case DType::kQ4_1:
      return run.template operator()<DType::kQ4_1, digits>();
    case DType::kQ5_0:
      return run.template operator()<DType::kQ5_0, digits>();
    case DType::kQ5_1:
      return run.template operator()<DType::kQ5_1, digits>();
    case DType::kQ8_0:
      return run.template operator()<DType::kQ8_0, digits>();
    case DType::kQ4_K:
      return run.template operator()<DType::kQ4_K, digits>();
    case DType::kQ5_K:
      return run.template operator()<DType::kQ5_K, digits>();
    case DType::kQ6_K:
      return run.template operator()<DType::kQ6_K, digits>();
    default:
      return;
  }
}

template <class Run>
[[gnu::always_inline]] inline void for_quantised(DType dtype, int digits, Run&& run) {
  digits == 2 ? for_quantised<2>(dtype, run) : for_quantised<1>(dtype, run);
}

// The largest magnitude of a block, as bits: those of values that are not finite exceed every
// number's.
[[gnu::always_inline]] inline int32_t top_bits(const float* x) {
  const I magnitude = Simd::iset(0x7fffffff);
  I most = Simd::iset(0);
  for (int i = 0; i < kBlock; i += Simd::N) {
    most = Simd::imax(most, Simd::iand(Simd::bits(Simd::load(x + i)), magnitude));
  }
  return Simd::max_of(most);
}

[[gnu::always_inline]] inline float top_of(const float* x) {
  const int32_t bits = top_bits(x);
  float top;
  __builtin_memcpy(&top, &bits, sizeof top);
  return top;
}

// From which largest value on a block of this row has a low digit.
float low_digit_from(const float* x, int columns) {
  float sum = 0;
  for (int i = 0; i < columns; i += kBlock) sum += top_of(x + i);
  return kLowDigitFrom * (sum / static_cast<float>(columns / kBlock));
}

// Sums of digits, halves of a block apart.
struct DigitSums {
  I halves[2] = {Simd::iset(0), Simd::iset(0)};

  void add(int i, I digits) { halves[2 * i / kBlock] = Simd::iadd(halves[2 * i / kBlock], digits); }
  int32_t first_half() const { return Simd::sum(halves[0]); }
  int32_t all() const { return Simd::sum(Simd::iadd(halves[0], halves[1])); }
};

// Writes 32 values as integers with one scale: high digits, then, of two, low ones, which are 0
// when the largest value is below `low_from`. Values that are not finite make the scale NaN, so
// that they reach the result.
template <int digits>
BlockScale quantize_block(const float* x, float low_from, int8_t* codes) {
  const float top = top_of(x);
  const bool finite = top < __builtin_inff();
  const bool low = digits == 2 && top >= low_from;
  const float most = low ? 127 << kDigitBits : 127;
  const float inverse = finite && top > 1e-24f ? most / top : 0.0f;  // less rounds to zero
  DigitSums sums[2];
  for (int i = 0; i < kBlock; i += Simd::N) {
    const F scaled = Simd::mul(Simd::load(x + i), Simd::set(inverse));
    const I code = finite ? Simd::round(scaled) : Simd::iset(0);
    I high = code;
    if constexpr (digits == 2) {
      const I half = Simd::iset(1 << (kDigitBits - 1));
      if (low) high = Simd::sar<kDigitBits>(Simd::iadd(code, half));
      const I rest = low ? Simd::isub(code, Simd::shl<kDigitBits>(high)) : Simd::iset(0);
      Simd::store_i8(codes + kBlock + i, rest);
      sums[1].add(i, rest);
    }
    Simd::store_i8(codes + i, high);
    sums[0].add(i, high);
  }
  BlockScale s{};
  s.scale = finite ? top / (digits == 2 ? 127 << kDigitBits : 127) : __builtin_nanf("");
  for (int d = 0; d < digits; ++d) {
    s.minus_8[d] = {-8 * sums[d].all(), -8 * sums[d].first_half()};
  }
  const int32_t unit = digits == 2 ? 1 << kDigitBits : 1;
  s.scaled_sum = s.scale * static_cast<float>(sums[0].all() * unit + sums[1].all());
  return s;
}

template <int rows, int digits>
void quantize_tile(const float* x, int columns, int8_t* codes, BlockScale* scales, uint16_t* low) {
  float low_from[rows];
  for (int r = 0; r < rows; ++r) {
    low_from[r] = digits == 2 ? low_digit_from(x + static_cast<int64_t>(r) * columns, columns) : 0;
  }
  for (int block = 0; block < columns / kBlock; ++block) {
    low[block] = 0;
    for (int r = 0; r < rows; ++r) {
      alignas(64) int8_t row[digits * kBlock];
      const float* values = x + static_cast<int64_t>(r) * columns + block * kBlock;
      scales[block * rows + r] = quantize_block<digits>(values, low_from[r], row);
      low[block] |= (digits == 2 && top_of(values) >= low_from[r]) << r;
      for (int g = 0; g < digits * kGroups; ++g) {
        __builtin_memcpy(codes + 4 * ((block * digits * kGroups + g) * rows + r), row + 4 * g, 4);
      }
    }
  }
}

}  // namespace
}  // namespace smore
