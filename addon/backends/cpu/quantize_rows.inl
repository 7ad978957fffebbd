// Activation rows as blocks of integers, in terms of Simd. A row alone decides its integers, so
// they are the same in every tile.

#pragma once

#include "backends/cpu/integer_products.inl"

namespace smore {
namespace {

// Rows that are quantised together.
constexpr int kTogether = 4;
// Blocks whose largest values are found before any is rounded: each step is a long chain, of which
// a processor holds few at a time.
constexpr int kBlocksAhead = 8;

// A lane for each of them.
typedef int32_t IntQuad __attribute__((vector_size(16)));

// What one block of up to kTogether rows becomes.
struct BlockCodes {
  alignas(64) int8_t low[kTogether][kBlock];
  alignas(64) int8_t high[kTogether][kBlock];
  Quad most;     // the value that becomes 127, of each row
  Quad inverse;  // what brings it there
  // Not zero where a group is loud in any row. If there is none, `high` is not written.
  alignas(64) int32_t loud[kBlock];
  bool any_loud;
};

// From which largest value on the groups of rows are loud, and whether a row holds a value that is
// not finite.
struct RowLimits {
  Quad loud_from;
  bool finite;
};

[[gnu::always_inline]] inline F magnitude(const float* x) {
  return Simd::from_bits(Simd::iand(Simd::bits(Simd::load(x)), Simd::iset(0x7fffffff)));
}

// To rows from columns, or back.
template <class Vector>
[[gnu::always_inline]] inline void transpose(Vector v[4]) {
  const Vector ab_low = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
  const Vector ab_high = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
  const Vector cd_low = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
  const Vector cd_high = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
}

template <int rows>
RowLimits find_limits(const float* const* x, int columns, bool digits) {
  F sums[kTogether];
#pragma GCC unroll 4
  for (int r = 0; r < kTogether; ++r) sums[r] = Simd::zero();
  for (int i = 0; i < columns; i += Simd::N) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) sums[r] = Simd::add(sums[r], magnitude(x[r] + i));
  }
  const Quad totals = Simd::sum4(sums[0], sums[1], sums[2], sums[3]);
  RowLimits limits{Quad{} + __builtin_inff(), true};
  for (int r = 0; r < rows; ++r) {
    const float mean = totals[r] / static_cast<float>(columns);
    limits.finite = limits.finite && mean < __builtin_inff();
    if (digits && mean > 0) limits.loud_from[r] = kLoudFrom * mean;
  }
  return limits;
}

// What brings values whose largest is `top` to 127; less than 1e-24 rounds to zero.
[[gnu::always_inline]] inline Quad inverse_of(Quad top) {
  return top > 1e-24f ? 127 / top : Quad{};
}

// The largest magnitudes of a block but for its loud groups, of which it takes note.
template <int rows>
[[gnu::always_inline]] inline Quad find_quiet(const float* const* x, int column,
                                              const RowLimits& limits, BlockCodes& to) {
  F most[kTogether];
  for (F& lanes : most) lanes = Simd::zero();
  I loud[kBlock / Simd::N];
  for (I& lanes : loud) lanes = Simd::iset(0);
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) {
    const F from = Simd::set(limits.loud_from[r]);
    const F ones = Simd::from_bits(Simd::iset(-1));
#pragma GCC unroll 8
    for (int i = 0; i < kBlock / Simd::N; ++i) {
      const F values = magnitude(x[r] + column + i * Simd::N);
      const F tops = Simd::group_max(values);
      most[r] = Simd::max(most[r], Simd::select_less(tops, from, values, Simd::zero()));
      const I own = Simd::bits(Simd::select_less(tops, from, Simd::zero(), ones));
      loud[i] = Simd::ior(loud[i], own);
    }
  }
  for (int i = 0; i < kBlock / Simd::N; ++i) {
    Simd::store(reinterpret_cast<float*>(to.loud) + i * Simd::N, Simd::from_bits(loud[i]));
  }
  return Simd::max4(most[0], most[1], most[2], most[3]);
}

// Finds the largest magnitudes of a block and which of its groups are loud.
template <int rows>
[[gnu::always_inline]] inline void find_most(const float* const* x, int column,
                                             const RowLimits& limits, BlockCodes& to) {
  F most[kTogether];
#pragma GCC unroll 4
  for (int r = 0; r < kTogether; ++r) {
    most[r] = Simd::zero();
    if (r >= rows) continue;
#pragma GCC unroll 8
    for (int i = 0; i < kBlock; i += Simd::N) {
      most[r] = Simd::max(most[r], magnitude(x[r] + column + i));
    }
  }
  const Quad all = Simd::max4(most[0], most[1], most[2], most[3]);
  to.most = all;
  to.any_loud = false;
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) to.any_loud |= all[r] >= limits.loud_from[r];
  if (to.any_loud) {
    const Quad quiet = find_quiet<rows>(x, column, limits, to);
    const Quad least = all / 127;  // high digits hold 127 at most
    to.most = quiet > least ? quiet : least;
  }
  to.inverse = inverse_of(to.most);
}

// Rounds the values of a block of one row; returns the sums of its halves, lane by lane.
struct HalfSums {
  F halves[2] = {Simd::zero(), Simd::zero()};

  void add(int i, I code) {  // exact: integers below 2^24
    halves[2 * i / kBlock] = Simd::add(halves[2 * i / kBlock], Simd::to_float(code));
  }
};

[[gnu::always_inline]] inline HalfSums round_block(const float* x, float inverse, int8_t* low) {
  HalfSums sums;
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; i += Simd::N) {
    const I code = Simd::round(Simd::mul(Simd::load(x + i), Simd::set(inverse)));
    Simd::store_i8(low + i, code);
    sums.add(i, code);
  }
  return sums;
}

// The same as two digits, the high one zero where a group is not loud.
[[gnu::always_inline]] inline HalfSums round_digits(const float* x, float inverse, float loud_from,
                                                    int8_t* low, int8_t* high) {
  HalfSums sums;
  const F from = Simd::set(loud_from);
  const F ones = Simd::from_bits(Simd::iset(-1));
  const I half = Simd::iset(1 << (kDigitBits - 1));
#pragma GCC unroll 8
  for (int i = 0; i < kBlock; i += Simd::N) {
    const I code = Simd::round(Simd::mul(Simd::load(x + i), Simd::set(inverse)));
    const F tops = Simd::group_max(magnitude(x + i));
    const I loud = Simd::bits(Simd::select_less(tops, from, Simd::zero(), ones));
    const I upper = Simd::iand(Simd::sar<kDigitBits>(Simd::iadd(code, half)), loud);
    Simd::store_i8(low + i, Simd::isub(code, Simd::shl<kDigitBits>(upper)));
    Simd::store_i8(high + i, upper);
    sums.add(i, code);
  }
  return sums;
}

// Makes a block of a row that holds values that are not finite NaN where one of them is in it, so
// that they reach the result.
void spoil(const float* x, BlockScale& scale) {
  for (int i = 0; i < kBlock; ++i) {
    if (!(__builtin_fabsf(x[i]) < __builtin_inff())) scale.scale = __builtin_nanf("");
  }
}

// -8 times sums of codes. Sums of values that are not finite wrap around; spoil() makes their block
// NaN.
[[gnu::always_inline]] inline IntQuad corrections(Quad sums) {
  using Wrapping = unsigned __attribute__((vector_size(sizeof(IntQuad))));
  return reinterpret_cast<IntQuad>(
      -8u * reinterpret_cast<Wrapping>(__builtin_convertvector(sums, IntQuad)));
}

// Rounds a block of `rows` rows, whose largest magnitudes are found, and makes their scales.
template <int rows>
[[gnu::always_inline]] inline void round_rows(const float* const* x, int column,
                                              const RowLimits& limits, BlockCodes& to,
                                              BlockScale* scales) {
  F first[kTogether], second[kTogether];
#pragma GCC unroll 4
  for (int r = 0; r < kTogether; ++r) {
    first[r] = second[r] = Simd::zero();
    if (r >= rows) continue;
    const HalfSums sums = to.any_loud ? round_digits(x[r] + column, to.inverse[r],
                                                     limits.loud_from[r], to.low[r], to.high[r])
                                      : round_block(x[r] + column, to.inverse[r], to.low[r]);
    first[r] = sums.halves[0];
    second[r] = sums.halves[1];
  }
  const Quad first_half = Simd::sum4(first[0], first[1], first[2], first[3]);
  const Quad sum = first_half + Simd::sum4(second[0], second[1], second[2], second[3]);
  const Quad scale = to.most * (1.0f / 127);
  IntQuad columns[4] = {reinterpret_cast<IntQuad>(scale), reinterpret_cast<IntQuad>(scale * sum),
                        corrections(sum), corrections(first_half)};
  static_assert(sizeof(BlockScale) == sizeof(IntQuad));
  transpose(columns);
#pragma GCC unroll 4
  for (int r = 0; r < rows; ++r) __builtin_memcpy(scales + r, columns + r, sizeof *scales);
  if (limits.finite) return;
  for (int r = 0; r < rows; ++r) spoil(x[r] + column, scales[r]);
}

// Puts groups of digits, group after group as [rows][kGroup].
template <int rows>
[[gnu::always_inline]] inline void put_groups(const int8_t (*digits)[kBlock], int8_t* to) {
  if constexpr (rows == kTogether) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      IntQuad groups[4];
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) __builtin_memcpy(&groups[r], digits[r] + half * 16, 16);
      transpose(groups);
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) __builtin_memcpy(to + half * 64 + g * 16, &groups[g], 16);
    }
  } else {
    for (int g = 0; g < kGroups; ++g) {
      for (int r = 0; r < rows; ++r) {
        __builtin_memcpy(to + kGroup * (g * rows + r), digits[r] + kGroup * g, kGroup);
      }
    }
  }
}

// A tile as [blocks][groups][rows][kGroup], high digits as [rows][kGroup] group after group. Its
// rows lie from x on.
template <int rows>
void quantize_tile(const float* x, const QuantRows& to, int row) {
  const int blocks = to.columns / kBlock;
  const float* from[rows];
  for (int r = 0; r < rows; ++r) from[r] = x + int64_t{r} * to.columns;
  const RowLimits limits = find_limits<rows>(from, to.columns, to.digits);
  int8_t* codes = to.codes + int64_t{row} * to.columns;
  int8_t* high = to.high + int64_t{row} * to.columns;
  uint8_t* high_groups = to.high_groups + int64_t{row} * (to.columns / kGroup);
  BlockScale* scales = to.scales + int64_t{row} * blocks;
  int32_t* high_end = to.high_end + int64_t{row} * blocks;
  BlockCodes ahead[kBlocksAhead];
  int32_t end = 0;
  for (int block = 0; block < blocks; ++block) {
    for (int i = block; block % kBlocksAhead == 0 && i < blocks && i < block + kBlocksAhead; ++i) {
      find_most<rows>(from, i * kBlock, limits, ahead[i - block]);
    }
    BlockCodes& own = ahead[block % kBlocksAhead];
    round_rows<rows>(from, block * kBlock, limits, own, scales + block * rows);
    put_groups<rows>(own.low, codes + block * kBlock * rows);
    for (int g = 0; g < kGroups && own.any_loud; ++g) {
      if (own.loud[g * kGroup] == 0) continue;
      high_groups[end] = static_cast<uint8_t>(g);
      int8_t* at = high + end++ * rows * kGroup;
      for (int r = 0; r < rows; ++r) {
        __builtin_memcpy(at + kGroup * r, own.high[r] + kGroup * g, kGroup);
      }
    }
    high_end[block] = end;
  }
}

}  // namespace
}  // namespace smore
