#include "backends/cpu/source_block.h"

#include <cstring>

#include "core/check.h"

namespace smore {
namespace {

uint16_t read_u16(const uint8_t* at) {
  uint16_t value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// 16 bytes: low nibbles are values 0 .. 15, high nibbles values 16 .. 31.
void read_nibbles(const uint8_t* at, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = at[i] & 15;
    codes[i + 16] = at[i] >> 4;
  }
}

// 32 bits: the fifth bit of each value.
void read_fifth_bits(const uint8_t* at, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] |= (at[i / 8] >> (i % 8) & 1) << 4;
}

// The eight 6-bit scales and minima of a K-quant's super-block, in 12 bytes.
void read_small_scales(const uint8_t* at, int sub, uint8_t* small) {
  if (sub < 4) {
    small[0] = at[sub] & 63;
    small[1] = at[sub + 4] & 63;
  } else {
    small[0] = (at[sub + 4] & 15) | at[sub - 4] >> 6 << 4;
    small[1] = at[sub + 4] >> 4 | at[sub] >> 6 << 4;
  }
}

void read_q4_k(const uint8_t* super, int sub, bool fifth, SourceBlock& out) {
  out.scale = read_u16(super);
  out.minimum = read_u16(super + 2);
  read_small_scales(super + 4, sub, out.small);
  const uint8_t* high = super + 16;
  const uint8_t* nibbles = super + (fifth ? 48 : 16) + sub / 2 * 32;
  for (int i = 0; i < 32; ++i) {
    out.codes[i] = sub % 2 == 0 ? nibbles[i] & 15 : nibbles[i] >> 4;
    if (fifth) out.codes[i] |= (high[i] >> sub & 1) << 4;
  }
}

void read_q6_k(const uint8_t* super, int sub, SourceBlock& out) {
  const int half = sub / 4;
  const int quarter = sub % 4;
  const uint8_t* low = super + half * 64 + quarter % 2 * 32;
  const uint8_t* high = super + 128 + half * 32;
  for (int i = 0; i < 32; ++i) {
    const int nibble = quarter < 2 ? low[i] & 15 : low[i] >> 4;
    out.codes[i] = static_cast<uint8_t>(nibble | (high[i] >> (2 * quarter) & 3) << 4);
  }
  std::memcpy(out.small, super + 192 + 2 * sub, 2);
  out.scale = read_u16(super + 208);
}

}  // namespace

SourceBlock read_block(DType dtype, const uint8_t* row, int64_t block) {
  SourceBlock out;
  const DTypeInfo& info = dtype_info(dtype);
  const int subs = info.block / 32;
  const uint8_t* at = row + block / subs * info.bytes;
  const int sub = static_cast<int>(block % subs);
  switch (dtype) {
    case DType::kQ4_0:
      out.scale = read_u16(at);
      read_nibbles(at + 2, out.codes);
      return out;
    case DType::kQ4_1:
      out.scale = read_u16(at);
      out.minimum = read_u16(at + 2);
      read_nibbles(at + 4, out.codes);
      return out;
    case DType::kQ5_0:
      out.scale = read_u16(at);
      read_nibbles(at + 6, out.codes);
      read_fifth_bits(at + 2, out.codes);
      return out;
    case DType::kQ5_1:
      out.scale = read_u16(at);
      out.minimum = read_u16(at + 2);
      read_nibbles(at + 8, out.codes);
      read_fifth_bits(at + 4, out.codes);
      return out;
    case DType::kQ8_0:
      out.scale = read_u16(at);
      std::memcpy(out.codes, at + 2, 32);
      return out;
    case DType::kQ4_K:
      read_q4_k(at, sub, false, out);
      return out;
    case DType::kQ5_K:
      read_q4_k(at, sub, true, out);
      return out;
    case DType::kQ6_K:
      read_q6_k(at, sub, out);
      return out;
    default:
      SMORE_CHECK(false, "a type without blocks");
  }
  return out;
}

}  // namespace smore
