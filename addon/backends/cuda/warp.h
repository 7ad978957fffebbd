#pragma once

#include "device.h"

// Sums of a warp and of a block, in one order whatever is summed beside them, and norms by them.

namespace smore::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// Every lane gets the sum.
__device__ inline float warp_sum(float value) {
  for (int bits = kWarpSize / 2; bits > 0; bits /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, bits);
  }
  return value;
}

__device__ inline float warp_max(float value) {
  for (int bits = kWarpSize / 2; bits > 0; bits /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, bits));
  }
  return value;
}

// What an RMS norm multiplies by. Squares beyond float32 count as infinite: the row overflowed.
__device__ inline float norm_scale(float squares, int width, float eps) {
  return squares <= 3.4028235e38f ? 1.0f / sqrtf(squares / width + eps) : nanf("");
}

// Every thread of the block, a row of whole warps, gets the sum. scratch: a float for each warp.
__device__ inline float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  __syncthreads();  // of an earlier use
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  float sum = 0;
  for (int warp = 0; warp < warps; ++warp) sum += scratch[warp];
  return sum;
}

// The same for the largest.
__device__ inline float block_max(float value, float* scratch) {
  value = warp_max(value);
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  __syncthreads();  // of an earlier use
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  float most = scratch[0];
  for (int warp = 1; warp < warps; ++warp) most = fmaxf(most, scratch[warp]);
  return most;
}

}  // namespace smore::cuda
