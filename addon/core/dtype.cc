#include "core/dtype.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>

#include "core/check.h"

namespace smore {
namespace {

struct DTypeRow {
  DTypeInfo info;
  int scale_offset;  // where a block keeps its half-precision scales
  int scale_count;   // how many there are; 0 = not a block format
};

// In the order of DType.
constexpr DTypeRow kDTypes[] = {
    {{"F32", 1, 4}, 0, 0},      {{"F16", 1, 2}, 0, 0},      {{"BF16", 1, 2}, 0, 0},
    {{"I32", 1, 4}, 0, 0},      {{"Q8_0", 32, 34}, 0, 1},   {{"Q4_0", 32, 18}, 0, 1},
    {{"Q4_1", 32, 20}, 0, 2},   {{"Q5_0", 32, 22}, 0, 1},   {{"Q5_1", 32, 24}, 0, 2},
    {{"Q4_K", 256, 144}, 0, 2}, {{"Q5_K", 256, 176}, 0, 2}, {{"Q6_K", 256, 210}, 208, 1},
};
static_assert(std::size(kDTypes) == static_cast<size_t>(DType::kQ6_K) + 1);

const DTypeRow& row_of(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

// Sources are bytes of a file: nothing is known of their alignment.
template <class T>
T load(const uint8_t* source) {
  T value;
  std::memcpy(&value, source, sizeof(T));
  return value;
}

float load_half(const uint8_t* source) { return half_to_float(load<uint16_t>(source)); }

void q8_0_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  for (int j = 0; j < 32; ++j) y[j] = d * static_cast<int8_t>(block[2 + j]);
}

void q4_0_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  const uint8_t* qs = block + 2;
  for (int j = 0; j < 16; ++j) {
    y[j] = d * ((qs[j] & 15) - 8);
    y[j + 16] = d * ((qs[j] >> 4) - 8);
  }
}

void q4_1_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  const float m = load_half(block + 2);
  const uint8_t* qs = block + 4;
  for (int j = 0; j < 16; ++j) {
    y[j] = d * (qs[j] & 15) + m;
    y[j + 16] = d * (qs[j] >> 4) + m;
  }
}

// The fifth bit of value j is bit j of the word at `high`.
int five_bits(const uint8_t* qs, uint32_t high, int j) {
  const int low = j < 16 ? qs[j] & 15 : qs[j - 16] >> 4;
  return low | static_cast<int>((high >> j) & 1) << 4;
}

void q5_0_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  const uint32_t high = load<uint32_t>(block + 2);
  for (int j = 0; j < 32; ++j) y[j] = d * (five_bits(block + 6, high, j) - 16);
}

void q5_1_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  const float m = load_half(block + 2);
  const uint32_t high = load<uint32_t>(block + 4);
  for (int j = 0; j < 32; ++j) y[j] = d * five_bits(block + 8, high, j) + m;
}

struct ScaleMin {
  int scale;
  int min;
};

// Eight pairs of 6-bit numbers in 12 bytes: the first four pairs in the low six bits of bytes 0-3
// and 4-7; of the others the low four bits lie in bytes 8-11, the high two above the first four.
ScaleMin k_scale_min(const uint8_t* packed, int index) {
  if (index < 4) return {packed[index] & 63, packed[index + 4] & 63};
  const int scale = (packed[index + 4] & 15) | (packed[index - 4] >> 6) << 4;
  const int min = (packed[index + 4] >> 4) | (packed[index] >> 6) << 4;
  return {scale, min};
}

// Sub-blocks of 32 in pairs: the even one in the low, the odd one in the high nibbles of 32 bytes.
void q4_k_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleMin sm = k_scale_min(block + 4, sub);
    const float scale = d * sm.scale;
    const float min = dmin * sm.min;
    const uint8_t* qs = block + 16 + sub / 2 * 32;
    for (int j = 0; j < 32; ++j) {
      const int q = sub % 2 == 0 ? qs[j] & 15 : qs[j] >> 4;
      *y++ = scale * q - min;
    }
  }
}

void q5_k_block(const uint8_t* block, float* y) {
  const float d = load_half(block);
  const float dmin = load_half(block + 2);
  const uint8_t* high = block + 16;
  for (int sub = 0; sub < 8; ++sub) {
    const ScaleMin sm = k_scale_min(block + 4, sub);
    const float scale = d * sm.scale;
    const float min = dmin * sm.min;
    const uint8_t* qs = block + 48 + sub / 2 * 32;
    for (int j = 0; j < 32; ++j) {
      const int q = (sub % 2 == 0 ? qs[j] & 15 : qs[j] >> 4) | ((high[j] >> sub) & 1) << 4;
      *y++ = scale * q - min;
    }
  }
}

// Two halves of 128 values; in each, value 32 g + j takes its low bits from a nibble of 64 bytes
// and its high two from bits 2 g of 32 bytes; every 16 values have a scale.
void q6_k_block(const uint8_t* block, float* y) {
  const float d = load_half(block + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* low = block + half * 64;
    const uint8_t* high = block + 128 + half * 32;
    const uint8_t* scales = block + 192 + half * 8;
    for (int g = 0; g < 4; ++g) {
      for (int j = 0; j < 32; ++j) {
        const uint8_t byte = low[(g % 2) * 32 + j];
        const int q = (g < 2 ? byte & 15 : byte >> 4) | ((high[j] >> (2 * g)) & 3) << 4;
        *y++ = d * static_cast<int8_t>(scales[g * 2 + j / 16]) * (q - 32);
      }
    }
  }
}

template <class T, class Convert>
void convert_each(const uint8_t* source, int64_t count, float* target, Convert convert) {
  for (int64_t i = 0; i < count; ++i) target[i] = convert(load<T>(source + i * sizeof(T)));
}

template <void (*kBlock)(const uint8_t*, float*)>
void convert_blocks(DType dtype, const uint8_t* source, int64_t count, float* target) {
  const DTypeInfo& info = dtype_info(dtype);
  SMORE_CHECK(count % info.block == 0, "a quantised row is cut inside a block");
  for (int64_t i = 0; i < count; i += info.block, source += info.bytes) kBlock(source, target + i);
}

// Index of the first value whose bits are `bad`, -1 = none. Without a branch per value, so that the
// loop runs at the speed of memory.
template <class T, class Bad>
int64_t first_where(const uint8_t* source, int64_t count, Bad&& bad) {
  constexpr int64_t kChunk = 4096;
  for (int64_t start = 0; start < count; start += kChunk) {
    const int64_t end = std::min(count, start + kChunk);
    T found = 0;
    for (int64_t i = start; i < end; ++i) {
      found |= static_cast<T>(bad(load<T>(source + i * sizeof(T))));
    }
    if (found == 0) continue;
    for (int64_t i = start;; ++i) {
      if (bad(load<T>(source + i * sizeof(T)))) return i;
    }
  }
  return -1;
}

// A number is infinite or NaN when all bits of its exponent are set.
template <class T>
int64_t first_full_exponent(const uint8_t* source, int64_t count, T exponent) {
  return first_where<T>(source, count, [=](T bits) { return (bits & exponent) == exponent; });
}

constexpr uint16_t kHalfExponent = 0x7c00;

int64_t first_bad_scale(const DTypeRow& row, const uint8_t* source, int64_t count) {
  const int64_t blocks = count / row.info.block;
  const uint8_t* scales = source + row.scale_offset;
  for (int64_t b = 0; b < blocks; ++b, scales += row.info.bytes) {
    for (int s = 0; s < row.scale_count; ++s) {
      const uint16_t bits = load<uint16_t>(scales + 2 * s);
      if ((bits & kHalfExponent) == kHalfExponent) return b * row.info.block;
    }
  }
  return -1;
}

}  // namespace

const DTypeInfo& dtype_info(DType dtype) { return row_of(dtype).info; }

void to_float(DType dtype, const void* data, int64_t count, float* target) {
  const auto* source = static_cast<const uint8_t*>(data);
  switch (dtype) {
    case DType::kF32:
      std::memcpy(target, source, static_cast<size_t>(count) * 4);
      return;
    case DType::kF16:
      return convert_each<uint16_t>(source, count, target, half_to_float);
    case DType::kBF16:
      return convert_each<uint16_t>(source, count, target, bfloat16_to_float);
    case DType::kI32:
      return convert_each<int32_t>(source, count, target,
                                   [](int32_t v) { return static_cast<float>(v); });
    case DType::kQ8_0:
      return convert_blocks<q8_0_block>(dtype, source, count, target);
    case DType::kQ4_0:
      return convert_blocks<q4_0_block>(dtype, source, count, target);
    case DType::kQ4_1:
      return convert_blocks<q4_1_block>(dtype, source, count, target);
    case DType::kQ5_0:
      return convert_blocks<q5_0_block>(dtype, source, count, target);
    case DType::kQ5_1:
      return convert_blocks<q5_1_block>(dtype, source, count, target);
    case DType::kQ4_K:
      return convert_blocks<q4_k_block>(dtype, source, count, target);
    case DType::kQ5_K:
      return convert_blocks<q5_k_block>(dtype, source, count, target);
    case DType::kQ6_K:
      return convert_blocks<q6_k_block>(dtype, source, count, target);
  }
}

int64_t first_non_finite(DType dtype, const void* data, int64_t count) {
  const auto* source = static_cast<const uint8_t*>(data);
  switch (dtype) {
    case DType::kF32:
      return first_full_exponent<uint32_t>(source, count, 0x7f800000);
    case DType::kF16:
      return first_full_exponent<uint16_t>(source, count, kHalfExponent);
    case DType::kBF16:
      return first_full_exponent<uint16_t>(source, count, 0x7f80);
    case DType::kI32:
      return -1;
    default:
      return first_bad_scale(row_of(dtype), source, count);
  }
}

int64_t first_beyond_bfloat16(const void* floats, int64_t count) {
  constexpr uint32_t kRoundsToInfinity = 0x7f7f8000;  // as 0x7f7f is odd
  return first_where<uint32_t>(static_cast<const uint8_t*>(floats), count, [](uint32_t bits) {
    return (bits & 0x7fffffff) >= kRoundsToInfinity;
  });
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 31;
  const uint32_t mantissa = half & 0x3ff;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t biased = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | biased << 23 | mantissa << 13);
}

uint16_t float_to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | kHalfExponent;  // 2^16 and more
  if (magnitude < 0x38800000) {
    // Below 2^-14 a half counts in units of 2^-24. Adding 0.5 lets the adder itself round to the
    // nearest even unit, which then stands in the low bits of the sum.
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(sum) - 0x3f000000);
  }
  const uint32_t odd = (magnitude >> 13) & 1;
  const uint32_t rounded = magnitude - (uint32_t{127 - 15} << 23) + 0xfff + odd;
  return sign |
         static_cast<uint16_t>(rounded >> 13);  // a carry past the largest half gives infinity
}

float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace smore
