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

// Adds one block's products of `rows` activation rows, out of a tile of `width`, to acc.
template <DType dtype, int rows, int width>
[[gnu::always_inline]] inline void integer_block(const I* codes, const LaneScales& s,
                                                 const int8_t* x, const BlockScale* xs, F* acc) {
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
    acc[r] = add_sum(sums[r], s.scale, xs[r], acc[r]);
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
      acc[r] = add_sum(sums[r], s.second, xs[r], acc[r]);
    }
  }
}

// What the low digits of a tile add to the results of its rows, for the lanes of one part.
template <int rows>
class LowSums {
 public:
  LowSums(const QuantRows& x, int row)
      : low_(x.low), end_(x.low_end + static_cast<int64_t>(row) * (x.columns / kBlock)) {
    if (low_ == nullptr) return;
    low_ += static_cast<int64_t>(row) * (x.columns / kBlock);
    for (int r = 0; r < rows; ++r) Simd::store(sums_ + r * Simd::N, Simd::zero());
  }

  // Blocks come in turn.
  [[gnu::always_inline]] bool any(int block) const {
    return low_ != nullptr && next_ < end_[block];
  }

  template <DType dtype>
  [[gnu::always_inline]] void add(int block, const I* codes, const LaneScales& scales) {
    for (; next_ < end_[block]; ++next_) {
      const LowDigits& low = low_[next_];
      float* at = sums_ + low.row * Simd::N;
      F sum = Simd::load(at);
      integer_block<dtype, 1, 1>(codes, scales, low.codes, &low.scale, &sum);
      Simd::store(at, sum);
    }
  }

  [[gnu::always_inline]] void add_to(F* acc) const {
    if (low_ == nullptr) return;
    for (int r = 0; r < rows; ++r) acc[r] = Simd::add(acc[r], Simd::load(sums_ + r * Simd::N));
  }

 private:
  const LowDigits* low_;
  const int32_t* end_;
  int next_ = 0;
  alignas(64) float sums_[rows * Simd::N];
};

template <DType dtype>
[[gnu::always_inline]] inline void load_dot_codes(const Panels& w, const uint8_t* panel, int block,
                                                  int part, I codes[kGroups]) {
  load_codes<dtype>(w, panel, block, part, codes);
  if constexpr (code_bits(dtype) == 8) {
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) codes[g] = Simd::code8(codes[g]);
  }
}

template <DType dtype, int rows>
void integer_tile(const Panels& w, const uint8_t* panel, int part, const QuantRows& x, int row,
                  F acc[rows]) {
  const int blocks = w.columns / kBlock;
  const int8_t* codes_x = x.codes + static_cast<int64_t>(row) * x.columns;
  const BlockScale* scales_x = x.scales + static_cast<int64_t>(row) * blocks;
  LowSums<rows> low(x, row);
  F sums[rows];
  for (int r = 0; r < rows; ++r) sums[r] = Simd::zero();
  for (int block = 0; block < blocks; ++block) {
    prefetch_next(w, panel, block);
    I codes[kGroups];
    load_dot_codes<dtype>(w, panel, block, part, codes);
    const LaneScales scales = load_scales<dtype>(w, panel, block, part);
    constexpr int kTogether = rows < 4 ? rows : 4;
#pragma GCC unroll 4
    for (int r = 0; r < rows; r += kTogether) {
      integer_block<dtype, kTogether, rows>(codes, scales, codes_x + block * kBlock * rows + 4 * r,
                                            scales_x + block * rows + r, sums + r);
    }
    if (low.any(block)) low.template add<dtype>(block, codes, scales);
  }
  low.add_to(sums);
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

template <DType dtype, int rows>
void integer_rows(const Panels& w, const QuantRows& x, const ProductTarget& t, int panel, int row) {
  const uint8_t* data = w.data + panel * w.panel_bytes;
  for (int part = 0; part < kParts; ++part) {
    F acc[rows];
    integer_tile<dtype, rows>(w, data, part, x, row, acc);
    store_rows<rows>(w, t, panel * kPanel + part * Simd::N, row, acc);
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

// From which largest value on the blocks of a row have low digits.
float low_digits_from(const float* x, int columns) {
  const I magnitude = Simd::iset(0x7fffffff);
  F sum = Simd::zero();
  for (int i = 0; i < columns; i += Simd::N) {
    sum = Simd::add(sum, Simd::from_bits(Simd::iand(Simd::bits(Simd::load(x + i)), magnitude)));
  }
  return kLowDigitFrom * (Simd::sum(sum) / static_cast<float>(columns));
}

// Sums of integers, halves of a block apart.
struct HalfSums {
  I halves[2] = {Simd::iset(0), Simd::iset(0)};

  void add(int i, I codes) { halves[2 * i / kBlock] = Simd::iadd(halves[2 * i / kBlock], codes); }
  BlockScale with(float scale) const {
    const int32_t first = Simd::sum(halves[0]);
    const int32_t all = first + Simd::sum(halves[1]);
    return {scale, scale * static_cast<float>(all), -8 * all, -8 * first};
  }
};

// What brings values whose largest is `top` to `most`; less than 1e-24 rounds to zero.
float inverse_scale(float top, float most) {
  return top > 1e-24f && top < __builtin_inff() ? most / top : 0.0f;
}

// Writes 32 values of which `top` is the largest as int8 with one scale. Values that are not finite
// make the scale NaN, so that they reach the result.
BlockScale quantize_block(const float* x, float top, int8_t* codes) {
  const bool finite = top < __builtin_inff();
  const F inverse = Simd::set(inverse_scale(top, 127));
  HalfSums sums;
  for (int i = 0; i < kBlock; i += Simd::N) {
    const I code = finite ? Simd::round(Simd::mul(Simd::load(x + i), inverse)) : Simd::iset(0);
    Simd::store_i8(codes + i, code);
    sums.add(i, code);
  }
  return sums.with(finite ? top / 127.0f : __builtin_nanf(""));
}

// The same as two digits, for finite values: returns the scale of the high ones.
BlockScale quantize_digits(const float* x, float top, int8_t* codes, LowDigits& low) {
  constexpr float kMost = 127 << kDigitBits;
  const F inverse = Simd::set(inverse_scale(top, kMost));
  const I half = Simd::iset(1 << (kDigitBits - 1));
  HalfSums high_sums, low_sums;
  for (int i = 0; i < kBlock; i += Simd::N) {
    const I code = Simd::round(Simd::mul(Simd::load(x + i), inverse));
    const I high = Simd::sar<kDigitBits>(Simd::iadd(code, half));
    const I rest = Simd::isub(code, Simd::shl<kDigitBits>(high));
    Simd::store_i8(codes + i, high);
    Simd::store_i8(low.codes + i, rest);
    high_sums.add(i, high);
    low_sums.add(i, rest);
  }
  low.scale = low_sums.with(top / kMost);
  return high_sums.with(top / 127.0f);
}

// Quantises tiles of rows, whose codes `place` puts where the kernel wants them: place(block, row,
// codes).
template <int rows, class Place>
[[gnu::always_inline]] inline void quantize_tile(const float* x, const QuantRows& to, int row,
                                                 Place&& place) {
  const int blocks = to.columns / kBlock;
  const int64_t first = static_cast<int64_t>(row) * blocks;
  BlockScale* scales = to.scales + first;
  float low_from[rows];
  for (int r = 0; r < rows; ++r) {
    low_from[r] =
        low_digits_from(x + (first + static_cast<int64_t>(r) * blocks) * kBlock, to.columns);
  }
  int32_t end = 0;
  for (int block = 0; block < blocks; ++block) {
    for (int r = 0; r < rows; ++r) {
      alignas(64) int8_t codes[kBlock];
      const float* values = x + (first + static_cast<int64_t>(r) * blocks + block) * kBlock;
      BlockScale& scale = scales[block * rows + r];
      const float top = top_of(values);
      if (to.low != nullptr && top > 0 && top >= low_from[r] && top < __builtin_inff()) {
        LowDigits& low = to.low[first + end++];
        low.row = r;
        scale = quantize_digits(values, top, codes, low);
      } else {
        scale = quantize_block(values, top, codes);
      }
      place(block, r, codes);
    }
    to.low_end[first + block] = end;
  }
}

// Tiles as [blocks][kBlock / 4][rows][4].
template <int rows>
void quantize_rows(const float* x, const QuantRows& to, int row) {
  int8_t* tile = to.codes + static_cast<int64_t>(row) * to.columns;
  quantize_tile<rows>(x, to, row, [&](int block, int r, const int8_t* codes) {
    for (int g = 0; g < kGroups; ++g) {
      __builtin_memcpy(tile + 4 * ((block * kGroups + g) * rows + r), codes + 4 * g, 4);
    }
  });
}

}  // namespace
}  // namespace smore
