#pragma once

#include "backends/cuda/matrix.h"
#include "tensor_core.h"

namespace smore::cuda {

__device__ __forceinline__ float bf16_bits_to_float(unsigned bits) {
  return __uint_as_float(bits << 16);
}

template <DType kType>
__device__ __forceinline__ float sixteen_bits_to_float(unsigned bits) {
  return kType == DType::kF16 ? half_bits_to_float(static_cast<uint16_t>(bits))
                              : bf16_bits_to_float(bits);
}

// What a lane reads of a tile of floats (matrix.h), as it is stored: reading is one thing and using
// another, so that many reads can be under way.
template <DType kType>
struct LaneTile {
  static constexpr int kWords = kType == DType::kF32 ? 8 : 4;
  unsigned words[2][kWords];  // of each half

  __device__ __forceinline__ void read(const TiledPart& w, int64_t tile, int lane) {
    const auto* at = reinterpret_cast<const uint4*>(w.codes + tile * tile_bytes(kType).codes);
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < kWords / 4; ++i) {
        const uint4 four = at[(half * 32 + lane) * (kWords / 4) + i];
        unsigned* to = words[half] + 4 * i;
        to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
      }
    }
  }

  __device__ __forceinline__ void values(int half, int /*lane*/, float* to) const {
    for (int j = 0; j < kLaneColumns; ++j) {
      to[j] = kType == DType::kF32
                  ? __uint_as_float(words[half][j % kWords])
                  : sixteen_bits_to_float<kType>(words[half][j / 2] >> (j % 2 * 16) & 0xffff);
    }
  }
};

template <DType kType>
concept Quantised = tile_bytes(kType)
.scales != 0;

// Of a tile of codes: value = scale * (code - offset) + minimum.
template <DType kType>
  requires Quantised<kType>
struct LaneTile<kType> {
  static constexpr TileBytes kBytes = tile_bytes(kType);
  static constexpr bool kBytesEach = kType == DType::kQ8_0;
  static constexpr bool kTwoScales = kBytes.supers != 0 ? kBytes.supers == 64 : kBytes.scales == 64;
  static constexpr int kOffset = kType == DType::kQ4_0   ? 8
                                 : kType == DType::kQ5_0 ? 16
                                 : kType == DType::kQ6_K ? 32
                                                         : 0;
  unsigned codes[2][kBytesEach ? 2 : 1];
  unsigned high;       // of both halves
  unsigned scales[2];  // a half, or two
  unsigned small[2];   // K-quants: two bytes

  __device__ __forceinline__ void read(const TiledPart& w, int64_t tile, int lane) {
    const std::byte* at = w.codes + tile * kBytes.codes;
    if constexpr (kBytesEach) {
      const uint4 words = reinterpret_cast<const uint4*>(at)[lane];
      codes[0][0] = words.x, codes[0][1] = words.y, codes[1][0] = words.z, codes[1][1] = words.w;
    } else {
      const uint2 words = reinterpret_cast<const uint2*>(at)[lane];
      codes[0][0] = words.x, codes[1][0] = words.y;
    }
    if constexpr (kBytes.high == 64) high = read16(w.high + tile * 64, lane);
    if constexpr (kBytes.high == 128) high = read32(w.high + tile * 128, lane);
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
      const std::byte* scale = w.scales + tile * kBytes.scales;
      if constexpr (kBytes.supers != 0) {
        small[half] = read16(scale, row);
        scale = w.supers + tile / kSuperTiles * kBytes.supers;
      }
      scales[half] = kTwoScales ? read32(scale, row) : read16(scale, row);
    }
  }

  __device__ __forceinline__ void values(int half, int lane, float* to) const {
    float scale = half_bits_to_float(static_cast<uint16_t>(scales[half] & 0xffff));
    float minimum = 0;
    if constexpr (kTwoScales)
      minimum = half_bits_to_float(static_cast<uint16_t>(scales[half] >> 16));
    if constexpr (kType == DType::kQ6_K) {
      scale *= static_cast<float>(static_cast<int8_t>(small[half] >> (lane % 4 / 2 * 8) & 255));
    } else if constexpr (kBytes.supers != 0) {
      scale *= static_cast<float>(small[half] & 255);
      minimum = -(minimum * static_cast<float>(small[half] >> 8));
    }
    for (int j = 0; j < kLaneColumns; ++j) {
      to[j] = scale * static_cast<float>(code(half, j)) + minimum;
    }
  }

 private:
  static __device__ __forceinline__ unsigned read16(const std::byte* at, int index) {
    return reinterpret_cast<const uint16_t*>(at)[index];
  }
  static __device__ __forceinline__ unsigned read32(const std::byte* at, int index) {
    return reinterpret_cast<const unsigned*>(at)[index];
  }

  __device__ __forceinline__ int code(int half, int j) const {
    if constexpr (kBytesEach) {
      return static_cast<int8_t>(codes[half][j / 4] >> (j % 4 * 8) & 255);
    } else {
      unsigned bits = codes[half][0] >> (j * 4) & 15;
      if constexpr (kBytes.high == 64) bits |= (high >> (half * 8 + j) & 1) << 4;
      if constexpr (kBytes.high == 128) bits |= (high >> (half * 16 + 2 * j) & 3) << 4;
      return static_cast<int>(bits) - kOffset;
    }
  }
};

// Columns 0 to 7 of a lane's output in bfloat16, in pairs.
template <DType kType>
__device__ __forceinline__ void round_weights(const LaneTile<kType>& tile, int half, int lane,
                                              unsigned pairs[4]) {
  if constexpr (kType == DType::kBF16) {
    for (int i = 0; i < 4; ++i) pairs[i] = tile.words[half][i];
  } else {
    float values[kLaneColumns];
    tile.values(half, lane, values);
    for (int i = 0; i < 4; ++i) pairs[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
  }
}

// The tile in bfloat16, for the two products over its columns: columns 8 q + 4 s .. 8 q + 4 s + 3
// of a lane are in product s. B's rows take the same order (pack_inputs).
template <DType kType>
__device__ __forceinline__ void pack_weights(const LaneTile<kType>& tile, int lane,
                                             FragmentA fragments[2]) {
  for (int half = 0; half < 2; ++half) {
    unsigned pairs[4];
    round_weights<kType>(tile, half, lane, pairs);
    for (int s = 0; s < 2; ++s) {
      fragments[s].x[half] = pairs[2 * s];
      fragments[s].x[2 + half] = pairs[2 * s + 1];
    }
  }
}

__device__ __forceinline__ void pack_inputs(const unsigned pairs[4], FragmentB fragments[2]) {
  for (int s = 0; s < 2; ++s) {
    fragments[s].x[0] = pairs[2 * s];
    fragments[s].x[1] = pairs[2 * s + 1];
  }
}

}  // namespace smore::cuda
