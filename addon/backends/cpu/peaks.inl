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
  constexpr int kRows = 4, kChains = 3;
  alignas(64) int8_t values[kGroups * kRows * 4];
  for (int i = 0; i < kGroups * kRows * 4; ++i) values[i] = static_cast<int8_t>(i % 7 - 3);
  I codes[kGroups];
  for (int g = 0; g < kGroups; ++g) codes[g] = Simd::iset(0x01020304 * (g % 3 + 1));
  I sums[kChains][kRows];
  for (auto& chain : sums) {
    for (I& sum : chain) sum = Simd::iset(0);
  }
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 3
    for (int c = 0; c < kChains; ++c) {
      asm volatile("" : "+m"(values));  // as if they had changed: nothing may be multiplied once
      Simd::dot<4, kGroups, kRows, kRows>(codes, values, sums[c]);
    }
  }
  volatile int32_t kept = 0;
  for (auto& chain : sums) {
    for (I& sum : chain) kept = kept ^ Simd::sum(sum);
  }
  return rounds * kChains * kRows * kBlock * Simd::N * 2;
}

}  // namespace
}  // namespace smore
