#pragma once

#include "backends/cuda/warp.h"

// Sums of integers in a block, exact in any order.

namespace smore::cuda {

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ inline int warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }

// Every lane gets the sum of those before it and its own.
__device__ inline uint64_t warp_running_sum(uint64_t value) {
  for (int step = 1; step < kWarpSize; step *= 2) {
    const uint64_t below = __shfl_sync(kAllLanes, value, max(lane() - step, 0));
    if (lane() >= step) value += below;
  }
  return value;
}

// Of a block: what its threads before this one have and its own, and what all have.
struct RunningSum {
  uint64_t upto;
  uint64_t all;
};

// warp_sums: one for each warp.
__device__ inline RunningSum block_running_sum(uint64_t own, uint64_t* warp_sums) {
  const uint64_t of_warp = warp_running_sum(own);
  __syncthreads();  // of an earlier use
  if (lane() == kWarpSize - 1) warp_sums[warp()] = of_warp;
  __syncthreads();
  RunningSum sum{of_warp, 0};
  for (int w = 0; w < static_cast<int>(blockDim.x) / kWarpSize; ++w) {
    if (w < warp()) sum.upto += warp_sums[w];
    sum.all += warp_sums[w];
  }
  return sum;
}

// The sum of what the block's threads have of amount(0) ... amount(count - 1).
template <class Amount>
__device__ uint64_t block_total(int count, uint64_t* warp_sums, Amount&& amount) {
  uint64_t own = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += blockDim.x) own += amount(i);
  return block_running_sum(own, warp_sums).all;
}

}  // namespace smore::cuda
