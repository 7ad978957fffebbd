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

// Codes and scales of some vectors of outputs as they lie in their panels.
template <DType type, int count>
struct PackedCodes {
  static constexpr DType dtype = type;
  static constexpr int vectors = count;
  const Panels& w;
  Outputs outputs[count];

  // Of vectors [vector, vector + count) of the matrix.
  PackedCodes(const Panels& panels, int vector) : w(panels) {
    for (int v = 0; v < count; ++v) {
      const int index = vector + v;
      outputs[v] = {w.data + index / kParts * w.panel_bytes, index % kParts};
    }
  }
  [[gnu::always_inline]] I group(int v, int block, int g) const {
    return load_dot_group<type>(w, outputs[v], block, g);
  }
  [[gnu::always_inline]] LaneScales scales(int v, int block) const {
    return load_scales<type>(w, outputs[v], block);
  }
};

// The same, unpacked for all rows that meet them: a slab of blocks, few enough to stay in the
// first-level cache.
template <DType type, int count>
class OpenCodes {
 public:
  static constexpr DType dtype = type;
  static constexpr int vectors = count;
  static constexpr int kBlocks = 24;

  // Blocks [begin, end), at most kBlocks.
  void open(const PackedCodes<type, count>& packed, int begin, int end) {
    begin_ = begin;
    for (int block = begin; block < end; ++block) {
      for (int v = 0; v < count; ++v) {
#pragma GCC unroll 8
        for (int g = 0; g < kGroups; ++g) {
          Simd::istore(codes_[block - begin][g][v], packed.group(v, block, g));
        }
        const LaneScales s = packed.scales(v, block);
        float(*to)[Simd::N] = scales_[block - begin][v];
        Simd::store(to[0], s.scale);
        if constexpr (type == DType::kQ6_K) Simd::store(to[1], s.second);
        if constexpr (has_minimum(type)) Simd::store(to[1], s.minimum);
      }
    }
  }
  [[gnu::always_inline]] I group(int v, int block, int g) const {
    return Simd::iload(codes_[block - begin_][g][v]);
  }
  [[gnu::always_inline]] LaneScales scales(int v, int block) const {
    const float(*from)[Simd::N] = scales_[block - begin_][v];
    LaneScales s{Simd::load(from[0]), Simd::zero(), Simd::zero()};
    if constexpr (type == DType::kQ6_K) s.second = Simd::load(from[1]);
    if constexpr (has_minimum(type)) s.minimum = Simd::load(from[1]);
    return s;
  }

 private:
  int begin_;
  alignas(64) uint8_t codes_[kBlocks][kGroups][count][kVectorBytes];
  alignas(64) float scales_[kBlocks][count][2][Simd::N];
};

// sums += the exact products of groups [first, first + count) of a block.
template <int rows, class Codes>
[[gnu::always_inline]] inline void add_groups(const Codes& w, int block, const int8_t* x, int first,
                                              int count, I (*sums)[rows]) {
  constexpr int vectors = Codes::vectors;
  I words[vectors][rows];
#pragma GCC unroll 8
  for (int i = 0; i < count; ++i) {
    // Groups that share bytes follow each other.
    const int group = count == kGroups ? i / 2 + i % 2 * (kGroups / 2) : first + i;
    I codes[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      codes[v] = w.group(v, block, group);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const I four = Simd::set_four(x + kGroup * (group * rows + r));
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        Simd::add_products<code_bits(Codes::dtype)>(sums[v][r], words[v][r], codes[v], four, i,
                                                    count);
      }
    }
  }
}

// sums = the exact products of high digits [begin, end), all of one block, times what they count
// for.
template <int rows, class Codes>
[[gnu::always_inline]] inline void high_sums(const Codes& w, int block, const TileRows<rows>& x,
                                             int begin, int end, I (*sums)[rows]) {
  constexpr int vectors = Codes::vectors;
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) sums[v][r] = Simd::iset(0);
  }
  for (int i = begin; i < end; ++i) {
    I codes[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      codes[v] = w.group(v, block, x.high_groups[i]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      const I four = Simd::set_four(x.high + kGroup * (i * rows + r));
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        I words;
        Simd::add_products<code_bits(Codes::dtype)>(sums[v][r], words, codes[v], four, 0, 1);
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
template <bool second_half, int rows, class Codes>
[[gnu::always_inline]] inline void add_block(const Codes& w, int block, const TileRows<rows>& x,
                                             int high_begin, int high_end, const LaneScales* scales,
                                             F (*acc)[rows]) {
  constexpr DType dtype = Codes::dtype;
  constexpr int vectors = Codes::vectors;
  constexpr bool halves = dtype == DType::kQ6_K;  // each has its scale
  constexpr int count = halves ? kGroups / 2 : kGroups;
  const BlockScale* xs = x.scales + block * rows;
  I sums[vectors][rows];
  if (high_begin < high_end) {
    high_sums<rows>(w, block, x, high_begin, high_end, sums);
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
  add_groups<rows>(w, block, x.codes + block * kBlock * rows, second_half ? count : 0, count, sums);
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

// Adds blocks [begin, end) to the results of a tile of rows, one after the other.
template <int rows, class Codes>
[[gnu::always_inline]] inline void add_blocks(const Codes& w, int begin, int end,
                                              const TileRows<rows>& x, const Ahead& ahead,
                                              F (*acc)[rows]) {
  int high = begin > 0 ? x.high_end[begin - 1] : 0;
  for (int block = begin; block < end; ++block) {
    prefetch(ahead, block);
    LaneScales scales[Codes::vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Codes::vectors; ++v) scales[v] = w.scales(v, block);
    const int high_end = x.high_end[block];
    if constexpr (Codes::dtype == DType::kQ6_K) {
      int middle = high;
      while (middle < high_end && x.high_groups[middle] < kGroups / 2) ++middle;
      add_block<false, rows>(w, block, x, high, middle, scales, acc);
      add_block<true, rows>(w, block, x, middle, high_end, scales, acc);
    } else {
      add_block<false, rows>(w, block, x, high, high_end, scales, acc);
    }
    high = high_end;
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

// What a tile of `rows` rows from `row` on brings of the `vectors` vectors after those from
// `vector` on: all tiles together bring them whole.
[[gnu::always_inline]] inline Ahead ahead_of(const Panels& w, const ProductTarget& t, int vector,
                                             int vectors, int row, int rows) {
  const size_t bytes = w.panel_bytes * vectors / kParts;
  const size_t row_bytes = bytes / (t.row_end - t.row_begin);
  const uint8_t* next = w.data + vector / kParts * w.panel_bytes + bytes;
  return {next + row_bytes * (row - t.row_begin), row_bytes * rows / (w.columns / kBlock)};
}

// Results of a tile of rows for vectors [vector, vector + vectors) of outputs.
template <DType dtype, int vectors, int rows>
void integer_rows(const Panels& w, const QuantRows& x, const ProductTarget& t, int vector,
                  int row) {
  F acc[vectors][rows];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[v][r] = Simd::zero();
  }
  const PackedCodes<dtype, vectors> codes(w, vector);
  add_blocks<rows>(codes, 0, w.columns / kBlock, TileRows<rows>(x, row),
                   ahead_of(w, t, vector, vectors, row, rows), acc);
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) store_rows<rows>(w, t, (vector + v) * Simd::N, row, acc[v]);
}

// The same by unpacked blocks [begin, end): the sums over those before them are in the results.
template <int rows, class Codes>
void open_rows(const Panels& w, const Codes& codes, int begin, int end, const QuantRows& x,
               const ProductTarget& t, int vector, int row) {
  constexpr int vectors = Codes::vectors;
  F acc[vectors][rows];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const int first = (vector + v) * Simd::N;
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      acc[v][r] = begin == 0 ? Simd::zero()
                             : load_outputs(t.y + (row + r) * t.y_stride + first, w.outs - first);
    }
  }
  add_blocks<rows>(codes, begin, end, TileRows<rows>(x, row),
                   ahead_of(w, t, vector, vectors, row, rows), acc);
  ProductTarget target = t;
  if (end < w.columns / kBlock) target.bias = nullptr;
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    store_rows<rows>(w, target, (vector + v) * Simd::N, row, acc[v]);
  }
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
