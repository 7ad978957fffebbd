#pragma once

#include "backends/cuda/fragments.h"
#include "core/check.h"
#include "device.h"

// The portable twins of runtime/tensor_core.h.

namespace smore::cuda {

namespace emulated {

// Operands of a product: pairs of 16-bit values.  to_float: what such a value is
template <class ToFloat>
void multiply_accumulate(FragmentC& c, const FragmentA& a, const FragmentB& b, ToFloat to_float) {
  struct Operands {
    FragmentA a;
    FragmentB b;
  };
  const Operands own{a, b};
  const auto all = exchange(0xffffffffu, &own, sizeof own);
  const int lane = running->lane;
  const auto half = [&](unsigned pair, int k) {
    return to_float(static_cast<uint16_t>(pair >> (16 * (k % 2))));
  };
  for (int k = 0; k < 16; ++k) {
    const int quarter = k % 8 / 2;
    const auto row = exchanged<Operands>(all, lane / 4 * 4 + quarter).a;
    float of_a[2], of_b[2];
    for (int i = 0; i < 2; ++i) {
      const int column = lane % 4 * 2 + i;
      of_a[i] = half(row.x[k / 8 * 2 + i], k);
      of_b[i] = half(exchanged<Operands>(all, column * 4 + quarter).b.x[k / 8], k);
    }
    for (int i = 0; i < 4; ++i) c.x[i] += of_a[i / 2] * of_b[i % 2];
  }
}

inline bool on_sixteen(const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; }

inline void load_matrices(unsigned (&x)[4], const void* row, bool transposed) {
  SMORE_CHECK(on_sixteen(row), "a row of a matrix is not on a multiple of 16 bytes");
  const auto rows = exchange(0xffffffffu, &row, sizeof row);
  const int lane = running->lane;
  for (int m = 0; m < 4; ++m) {
    uint16_t pair[2];
    for (int i = 0; i < 2; ++i) {
      const int column = lane % 4 * 2 + i;
      const auto* from = exchanged<const uint16_t*>(rows, 8 * m + (transposed ? column : lane / 4));
      pair[i] = from[transposed ? lane / 4 : column];
    }
    x[m] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
  }
}

}  // namespace emulated

inline void multiply_accumulate(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  emulated::multiply_accumulate(c, a, b, bfloat16_to_float);
}

inline void multiply_accumulate_halves(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  emulated::multiply_accumulate(c, a, b, half_to_float);
}

inline void load_matrices(unsigned (&x)[4], const void* row) {
  emulated::load_matrices(x, row, false);
}
inline void load_transposed(unsigned (&x)[4], const void* row) {
  emulated::load_matrices(x, row, true);
}

inline void copy_async(void* to, const void* from, bool wanted) {
  SMORE_CHECK(emulated::on_sixteen(to) && emulated::on_sixteen(from),
              "16 bytes that are copied are not on a multiple of 16");
  emulated::running->copies.push_back({to, wanted ? from : nullptr});
}
inline void await_copies() { emulated::make_copies(*emulated::running); }

inline float exp2_approximate(float x) { return std::exp2(x); }

inline unsigned pack_bf16(float low, float high) {
  return float_to_bfloat16(low) | static_cast<unsigned>(float_to_bfloat16(high)) << 16;
}

inline unsigned pack_halves(float low, float high) {
  return float_to_half(low) | static_cast<unsigned>(float_to_half(high)) << 16;
}

}  // namespace smore::cuda
