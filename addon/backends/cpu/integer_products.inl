// Products of blocks of integers over packed panels, in terms of Simd. One order per (row, output):
// exact integers within a block, then a float32 sum over the blocks in turn. Tiles only choose
// which results share a load.

#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/tiles.inl"

namespace smore {
namespace {

constexpr int kParts = kPanel / Simd::N;  // vectors across a panel
constexpr int kGroups = kBlock / kGroup;  // vectors of codes of a block: a group a lane
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

// A vector of outputs: lanes of one part of a panel.
struct Outputs {
  const uint8_t* panel;
  int part;
};

// `left` may be negative.
[[gnu::always_inline]] inline I shift(I v, int left) {
  return left >= 0 ? Simd::shl_by(v, left) : Simd::shr_by(v, -left);
}

// The codes of one group of a block.
template <DType dtype>
[[gnu::always_inline]] inline I load_group(const Panels& w, const Outputs& outputs, int block,
                                           int group) {
  const uint8_t* lanes = outputs.panel + outputs.part * kVectorBytes;
  if constexpr (code_bits(dtype) == 8) {
    return Simd::iload(lanes + (static_cast<size_t>(block) * kGroups + group) * kGroupBytes);
  }
  constexpr int kHalf = kGroups / 2;
  const I both =
      Simd::iload(lanes + (static_cast<size_t>(block) * kHalf + group % kHalf) * kGroupBytes);
  const I low = Simd::iand(Simd::shr_by(both, group / kHalf * 4), Simd::iset(0x0f0f0f0f));
  if constexpr (code_bits(dtype) == 5) {
    const I high = Simd::iload(lanes + w.high + block * kGroupBytes);
    return Simd::ior(low, Simd::iand(shift(high, 4 - group), Simd::iset(0x10101010)));
  } else if constexpr (code_bits(dtype) == 6) {
    const I high = Simd::iload(lanes + w.high + (2 * block + group / kHalf) * kGroupBytes);
    return Simd::ior(low, Simd::iand(shift(high, 4 - group % kHalf * 2), Simd::iset(0x30303030)));
  }
  return low;
}

// The same as products want it.
template <DType dtype>
[[gnu::always_inline]] inline I load_dot_group(const Panels& w, const Outputs& outputs, int block,
                                               int group) {
  const I codes = load_group<dtype>(w, outputs, block, group);
  if constexpr (code_bits(dtype) == 8) return Simd::code8(codes);
  return codes;
}

// Scales of a block for the lanes of one part: value = scale * code - or + minimum.
struct LaneScales {
  F scale;
  F second;  // Q6_K: the scale of the last 16 columns
  F minimum;
};

template <DType dtype>
[[gnu::always_inline]] inline LaneScales load_scales(const Panels& w, const Outputs& outputs,
                                                     int block) {
  LaneScales s{Simd::zero(), Simd::zero(), Simd::zero()};
  const uint8_t* panel = outputs.panel;
  const int lane = outputs.part * Simd::N;
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

// What comes from memory while a tile of rows is multiplied, a part with each block: the hardware's
// own guess ends with each page.
struct Ahead {
  const uint8_t* from;
  size_t bytes;  // with each block
};

[[gnu::always_inline]] inline void prefetch(const Ahead& ahead, int block) {
  const uint8_t* from = ahead.from + block * ahead.bytes;
  for (size_t line = 0; line < ahead.bytes; line += 64) Simd::prefetch(from + line);
}

// Where a tile of rows lies.
template <int rows>
struct TileRows {
  const int8_t* codes;
  const BlockScale* scales;
  const int8_t* high;
  const uint8_t* high_groups;
  const int32_t* high_end;

  TileRows(const QuantRows& x, int64_t row)
      : codes(x.codes + row * x.columns),
        scales(x.scales + row * (x.columns / kBlock)),
        high(x.high + row * x.columns),
        high_groups(x.high_groups + row * (x.columns / kGroup)),
        high_end(x.high_end + row * (x.columns / kBlock)) {}
};

// sums += the exact products of groups [first, first + count) of a block.
template <DType dtype, int vectors, int rows>
[[gnu::always_inline]] inline void add_groups(const Panels& w, const Outputs* outputs, int block,
                                              const int8_t* x, int first, int count,
                                              I (*sums)[rows]) {
  I words[vectors][rows];
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) {
    // Groups that share bytes follow each other.
    const int group = count == kGroups ? i / 2 + i % 2 * (kGroups / 2) : first + i;
    I codes[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      codes[v] = load_dot_group<dtype>(w, outputs[v], block, group);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const I four = Simd::set_four(x + kGroup * (group * rows + r));
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        Simd::add_products<code_bits(dtype)>(sums[v][r], words[v][r], codes[v], four, i, count);
      }
    }
  }
}

// sums = the exact products of high digits [begin, end), all of one block, times what they count
// for.
template <DType dtype, int vectors, int rows>
[[gnu::always_inline]] inline void high_sums(const Panels& w, const Outputs* outputs, int block,
                                             const TileRows<rows>& x, int begin, int end,
                                             I (*sums)[rows]) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) sums[v][r] = Simd::iset(0);
  }
  for (int i = begin; i < end; ++i) {
    I codes[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      codes[v] = load_dot_group<dtype>(w, outputs[v], block, x.high_groups[i]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const I four = Simd::set_four(x.high + kGroup * (i * rows + r));
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        I words;
        Simd::add_products<code_bits(dtype)>(sums[v][r], words, codes[v], four, 0, 1);
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) sums[v][r] = Simd::shl<kDigitBits>(sums[v][r]);
  }
}

// What the offset of unsigned codes adds to the sum of a block's products, or of one half's, to be
// undone.
template <DType dtype, bool second_half>
[[gnu::always_inline]] inline I offset_of(const BlockScale& x) {
  constexpr int kOffset = code_bits(dtype) == 8 ? Simd::kCodeOffset8 : code_offset(dtype);
  if constexpr (kOffset == 0) return Simd::iset(0);
  constexpr int kShift = kOffset == 8 ? 0 : kOffset == 16 ? 1 : kOffset == 32 ? 2 : 4;
  static_assert(8 << kShift == kOffset || kOffset == 0);
  int32_t minus_8_sum = x.minus_8_sum;
  if constexpr (dtype == DType::kQ6_K) {
    minus_8_sum = second_half ? x.minus_8_sum - x.minus_8_first_half : x.minus_8_first_half;
  }
  return Simd::shl<kShift>(Simd::iset(minus_8_sum));
}

// Adds the products of a block, or of one half of it, to acc.
template <DType dtype, bool second_half, int vectors, int rows>
[[gnu::always_inline]] inline void add_block(const Panels& w, const Outputs* outputs, int block,
                                             const TileRows<rows>& x, int high_begin, int high_end,
                                             const LaneScales* scales, F (*acc)[rows]) {
  constexpr bool halves = dtype == DType::kQ6_K;  // each has its scale
  constexpr int count = halves ? kGroups / 2 : kGroups;
  const BlockScale* xs = x.scales + block * rows;
  I sums[vectors][rows];
  if (high_begin < high_end) {
    high_sums<dtype, vectors, rows>(w, outputs, block, x, high_begin, high_end, sums);
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const I offset = offset_of<dtype, second_half>(xs[r]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[v][r] = Simd::iadd(sums[v][r], offset);
    }
  } else {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const I offset = offset_of<dtype, second_half>(xs[r]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sums[v][r] = offset;
    }
  }
  add_groups<dtype, vectors, rows>(w, outputs, block, x.codes + block * kBlock * rows,
                                   second_half ? count : 0, count, sums);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const F scale = second_half ? scales[v].second : scales[v].scale;
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      acc[v][r] = add_sum(sums[v][r], scale, xs[r], acc[v][r]);
      if constexpr (has_minimum(dtype)) {
        acc[v][r] = Simd::fma(scales[v].minimum, Simd::set(xs[r].scaled_sum), acc[v][r]);
      }
    }
  }
}

// Results of a tile of rows for some vectors of outputs, block after block.
template <DType dtype, int vectors, int rows>
[[gnu::always_inline]] inline void integer_tile(const Panels& w, const Outputs* outputs,
                                                const TileRows<rows>& x, const Ahead& ahead,
                                                F (*acc)[rows]) {
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[v][r] = Simd::zero();
  }
  const int blocks = w.columns / kBlock;
  int high = 0;
  for (int block = 0; block < blocks; ++block) {
    prefetch(ahead, block);
    LaneScales scales[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) scales[v] = load_scales<dtype>(w, outputs[v], block);
    const int end = x.high_end[block];
    if constexpr (dtype == DType::kQ6_K) {
      int middle = high;
      while (middle < end && x.high_groups[middle] < kGroups / 2) ++middle;
      add_block<dtype, false, vectors, rows>(w, outputs, block, x, high, middle, scales, acc);
      add_block<dtype, true, vectors, rows>(w, outputs, block, x, middle, end, scales, acc);
    } else {
      add_block<dtype, false, vectors, rows>(w, outputs, block, x, high, end, scales, acc);
    }
    high = end;
  }
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

// Results of a tile of rows for vectors [vector, vector + vectors) of outputs. All tiles together
// bring the vectors after them.
template <DType dtype, int vectors, int rows>
void integer_rows(const Panels& w, const QuantRows& x, const ProductTarget& t, int vector,
                  int row) {
  Outputs outputs[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const int index = vector + v;
    outputs[v] = {w.data + index / kParts * w.panel_bytes, index % kParts};
  }
  const size_t bytes = w.panel_bytes * vectors / kParts;
  const size_t row_bytes = bytes / (t.row_end - t.row_begin);
  const Ahead ahead{outputs[0].panel + bytes + row_bytes * (row - t.row_begin),
                    row_bytes * rows / (w.columns / kBlock)};
  F acc[vectors][rows];
  integer_tile<dtype, vectors, rows>(w, outputs, TileRows<rows>(x, row), ahead, acc);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) store_rows<rows>(w, t, (vector + v) * Simd::N, row, acc[v]);
}

// Calls run.operator()<dtype>() for a quantised type.
template <class Run>
[[gnu::always_inline]] inline void for_quantised(DType dtype, Run&& run) {
  switch (dtype) {
    case DType::kQ4_0:
      return run.template operator()<DType::kQ4_0>();
    case DType::kQ4_1:
      return run.template operator()<DType::kQ4_1>();
    case DType::kQ5_0:
      return run.template operator()<DType::kQ5_0>();
    case DType::kQ5_1:
      return run.template operator()<DType::kQ5_1>();
    case DType::kQ8_0:
      return run.template operator()<DType::kQ8_0>();
    case DType::kQ4_K:
      return run.template operator()<DType::kQ4_K>();
    case DType::kQ5_K:
      return run.template operator()<DType::kQ5_K>();
    case DType::kQ6_K:
      return run.template operator()<DType::kQ6_K>();
    default:
      return;
  }
}

}  // namespace
}  // namespace smore
