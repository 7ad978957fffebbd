#pragma once

#include "backends/cuda/fragments.h"
#include "device.h"

// The portable twins of runtime/tensor_core.h.

namespace smore::cuda {

namespace emulated {

inline float bf16_half(unsigned pair, int half) {
  return bfloat16_to_float(static_cast<uint16_t>(pair >> (16 * half)));
}

}  // namespace emulated

inline void multiply_accumulate(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  struct Operands {
    FragmentA a;
    FragmentB b;
  };
  const Operands own{a, b};
  const auto all = emulated::exchange(0xffffffffu, &own, sizeof own);
  const int lane = emulated::running->lane;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4;  // of its half of the 16
    const int column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) {
      const int quarter = k % 8 / 2;
      const auto of_a = exchanged<Operands>(all, row * 4 + quarter);
      const auto of_b = exchanged<Operands>(all, column * 4 + quarter);
      c.x[i] += emulated::bf16_half(of_a.a.x[k / 8 * 2 + i / 2], k % 2) *
                emulated::bf16_half(of_b.b.x[k / 8], k % 2);
    }
  }
}

inline unsigned pack_bf16(float low, float high) {
  return float_to_bfloat16(low) | static_cast<unsigned>(float_to_bfloat16(high)) << 16;
}

}  // namespace smore::cuda
