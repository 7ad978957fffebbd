// As many products as the units of an instruction set can do, in terms of Simd.

#include "backends/cpu/integer_products.inl"

namespace smore {
namespace {

int64_t exercise_float(int64_t rounds) {
  constexpr int kChains = 12;  // hide the latency
  F acc[kChains];
  for (int c = 0; c < kChains; ++c) acc[c] = Simd::zero();
  const F factor = Simd::set(0.5f);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) acc[c] = Simd::fma(acc[c], factor, factor);
  }
  volatile float kept = 0;
  for (int c = 0; c < kChains; ++c) kept = kept + Simd::sum(acc[c]);
  return rounds * kChains * Simd::N * 2;
}

int64_t exercise_integer(int64_t rounds) {
  constexpr int kRows = 4, kVectors = 2;  // as in products of many rows
  alignas(64) int8_t values[kGroups * kRows * kGroup];
  for (int i = 0; i < kGroups * kRows * kGroup; ++i) values[i] = static_cast<int8_t>(i % 7 - 3);
  I codes[kVectors], sums[kVectors][kRows], words[kVectors][kRows];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    codes[v] = Simd::iset(0x01020304 * (v + 1));
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sums[v][r] = Simd::iset(0);
  }
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+m"(values));  // as if they had changed: nothing may be multiplied once
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const I four = Simd::set_four(values + kGroup * (g * kRows + r));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          Simd::add_products<4>(sums[v][r], words[v][r], codes[v], four, g, kGroups);
        }
      }
    }
  }
  volatile int32_t kept = 0;
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) kept = kept ^ Simd::sum(sums[v][r]);
  }
  return rounds * kVectors * kRows * kBlock * Simd::N * 2;
}

}  // namespace
}  // namespace smore
