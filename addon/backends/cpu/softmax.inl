// Sums of likelihoods of one row's tokens, in terms of Simd: the numbers of sampling/softmax.h bit
// for bit, so that what is drawn does not depend on the machine. No multiplication is fused with
// an addition here, as none is there.

#include <cstdint>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

// Vectors side by side: one operation after the other on all of them, as the processor's window is
// too short to see the next vector's while it waits for this one's.
constexpr int kWide = 4;
struct Wide {
  F v[kWide];
};

template <class Fn>
[[gnu::always_inline]] inline Wide each(Fn&& fn) {
  Wide y;
#pragma GCC unroll 4
  for (int i = 0; i < kWide; ++i) y.v[i] = fn(i);
  return y;
}

[[gnu::always_inline]] inline Wide mul_add(const Wide& a, const Wide& b, float c) {
  return each([&](int i) { return Simd::add(Simd::mul(a.v[i], b.v[i]), Simd::set(c)); });
}
[[gnu::always_inline]] inline Wide mul_sub(const Wide& a, float b, const Wide& from) {
  return each([&](int i) { return Simd::sub(from.v[i], Simd::mul(a.v[i], Simd::set(b))); });
}

// exp_in_range of softmax.h.
[[gnu::always_inline]] inline Wide exp_unfused(const Wide& x) {
  const F round = Simd::set(12582912.0f);
  const Wide shifted =
      each([&](int i) { return Simd::add(Simd::mul(x.v[i], Simd::set(1.44269504f)), round); });
  const Wide n = each([&](int i) { return Simd::sub(shifted.v[i], round); });
  const Wide r = mul_sub(n, -2.12194440e-4f, mul_sub(n, 0.693359375f, x));
  Wide p = each([&](int) { return Simd::set(1.9875691500e-4f); });
  p = mul_add(p, r, 1.3981999507e-3f);
  p = mul_add(p, r, 8.3334519073e-3f);
  p = mul_add(p, r, 4.1665795894e-2f);
  p = mul_add(p, r, 1.6666665459e-1f);
  p = mul_add(p, r, 5.0000001201e-1f);
  const Wide square = each([&](int i) { return Simd::mul(Simd::mul(p.v[i], r.v[i]), r.v[i]); });
  p = each([&](int i) { return Simd::add(Simd::add(square.v[i], r.v[i]), Simd::set(1.0f)); });
  return each([&](int i) {
    const I power = Simd::isub(Simd::bits(shifted.v[i]), Simd::bits(round));
    const I scale = Simd::shl<23>(Simd::iadd(power, Simd::iset(127)));
    return Simd::mul(p.v[i], Simd::from_bits(scale));
  });
}

[[gnu::always_inline]] inline Wide likelihoods(const float* logits, float max, float scale) {
  const F least = Simd::set(-87.0f);  // kLeastExponent
  return exp_unfused(each([&](int i) {
    const F below = Simd::sub(Simd::load(logits + i * Simd::N), Simd::set(max));
    const F x = Simd::mul(below, Simd::set(scale));
    return Simd::select_less(least, x, x, least);  // also where it is infinity times zero
  }));
}

uint64_t weight_sum(const float* logits, int64_t count, float max, float scale) {
  constexpr int kTaken = kWide * Simd::N;
  Simd::Units units[kWide];
  for (Simd::Units& own : units) own = Simd::no_units();
  const auto take = [&](const float* from) {
    const Wide values = likelihoods(from, max, scale);
    for (int i = 0; i < kWide; ++i) units[i] = Simd::add_units(units[i], values.v[i]);
  };
  int64_t begin = 0;
  for (; begin + kTaken <= count; begin += kTaken) take(logits + begin);
  if (begin < count) {
    float last[kTaken];
    for (int i = 0; i < kTaken; ++i) {
      last[i] = begin + i < count ? logits[begin + i] : -__builtin_inff();
    }
    take(last);
  }
  uint64_t total = 0;
  for (const Simd::Units& own : units) total += Simd::sum(own);
  return total;
}

}  // namespace
}  // namespace smore
