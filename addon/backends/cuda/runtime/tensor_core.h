#pragma once

#include <cuda_bf16.h>

#include "backends/cuda/fragments.h"
#include "device.h"

// Instructions that a host cannot run. emulated/tensor_core.h has their portable twins.

namespace smore::cuda {

// C += A B. All lanes of the warp.
__device__ __forceinline__ void multiply_accumulate(FragmentC& c, const FragmentA& a,
                                                    const FragmentB& b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

// Two values rounded to the nearest bfloat16, the first in the low half.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const unsigned*>(&pair);
}

}  // namespace smore::cuda
