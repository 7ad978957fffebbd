#pragma once

#include "backends/cuda/matrix.h"
#include "device.h"

// What a lane reads of a tile (matrix.h), as floats.

namespace smore::cuda {

__device__ __forceinline__ float bf16_bits_to_float(uint16_t bits) {
  return __uint_as_float(static_cast<unsigned>(bits) << 16);
}

struct ScaleAndMinimum {
  float scale, minimum;
};

// Of the 8 columns that lane % 4 == quarter has of a row: value = scale * code + minimum.
template <DType kType>
__device__ __forceinline__ ScaleAndMinimum read_scales(const TiledPart& w, int64_t tile, int row,
                                                       int quarter) {
  constexpr TileBytes kBytes = tile_bytes(kType);
  if constexpr (kBytes.supers == 0) {
    const auto* halves = reinterpret_cast<const uint16_t*>(w.scales + tile * kBytes.scales);
    if constexpr (kBytes.scales == 32) return {half_bits_to_float(halves[row]), 0};
    return {half_bits_to_float(halves[2 * row]), half_bits_to_float(halves[2 * row + 1])};
  } else {
    const auto* small = reinterpret_cast<const uint8_t*>(w.scales + tile * kBytes.scales) + 2 * row;
    const auto* halves =
        reinterpret_cast<const uint16_t*>(w.supers + tile / kSuperTiles * kBytes.supers);
    if constexpr (kType == DType::kQ6_K) {
      return {half_bits_to_float(halves[row]) * static_cast<int8_t>(small[quarter / 2]), 0};
    }
    return {half_bits_to_float(halves[2 * row]) * small[0],
            -(half_bits_to_float(halves[2 * row + 1]) * small[1])};
  }
}

template <DType kType>
__device__ __forceinline__ int code_offset() {
  return kType == DType::kQ4_0 ? 8 : kType == DType::kQ5_0 ? 16 : kType == DType::kQ6_K ? 32 : 0;
}

template <DType kType>
__device__ __forceinline__ void read_codes(const TiledPart& w, int64_t tile, int lane, int half,
                                           int codes[kLaneColumns]) {
  constexpr TileBytes kBytes = tile_bytes(kType);
  const std::byte* at = w.codes + tile * kBytes.codes;
  if constexpr (kType == DType::kQ8_0) {
    const uint2 bytes = reinterpret_cast<const uint2*>(at)[lane * 2 + half];
    for (int j = 0; j < 8; ++j) {
      codes[j] = static_cast<int8_t>((j < 4 ? bytes.x : bytes.y) >> (j % 4 * 8) & 255);
    }
    return;
  }
  const unsigned low = reinterpret_cast<const unsigned*>(at)[lane * 2 + half];
  unsigned high = 0;
  if constexpr (kBytes.high == 64) {
    high = reinterpret_cast<const uint8_t*>(w.high + tile * kBytes.high)[lane * 2 + half];
  } else if constexpr (kBytes.high == 128) {
    high = reinterpret_cast<const uint16_t*>(w.high + tile * kBytes.high)[lane * 2 + half];
  }
  for (int j = 0; j < 8; ++j) {
    unsigned code = low >> (j * 4) & 15;
    if constexpr (kBytes.high == 64) code |= (high >> j & 1) << 4;
    if constexpr (kBytes.high == 128) code |= (high >> (2 * j) & 3) << 4;
    codes[j] = static_cast<int>(code) - code_offset<kType>();
  }
}

// The 8 columns of output lane / 4 + 8 * half.
template <DType kType>
__device__ __forceinline__ void read_weights(const TiledPart& w, int64_t tile, int lane, int half,
                                             float values[kLaneColumns]) {
  if constexpr (kType == DType::kF32) {
    const auto* at =
        reinterpret_cast<const float4*>(w.codes + tile * 2048) + (half * 32 + lane) * 2;
    const float4 a = at[0], b = at[1];
    values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
    values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
  } else if constexpr (kType == DType::kF16 || kType == DType::kBF16) {
    const uint4 bits = reinterpret_cast<const uint4*>(w.codes + tile * 1024)[half * 32 + lane];
    const unsigned words[] = {bits.x, bits.y, bits.z, bits.w};
    for (int j = 0; j < 8; ++j) {
      const auto value = static_cast<uint16_t>(words[j / 2] >> (j % 2 * 16) & 0xffff);
      values[j] = kType == DType::kF16 ? half_bits_to_float(value) : bf16_bits_to_float(value);
    }
  } else {
    int codes[kLaneColumns];
    read_codes<kType>(w, tile, lane, half, codes);
    const ScaleAndMinimum s = read_scales<kType>(w, tile, lane / 4 + 8 * half, lane % 4);
    for (int j = 0; j < 8; ++j) values[j] = s.scale * static_cast<float>(codes[j]) + s.minimum;
  }
}

}  // namespace smore::cuda
