// Functions of vectors, in terms of Simd, and loops over rows of them.

#pragma once

#include "backends/cpu/tiles.inl"

namespace smore {
namespace {

// Within 2 units in the last place; NaN stays NaN, and what underflows ends near 1e-38.
inline F exp(F x) {
  // The second operand of max and min is what NaN yields.
  x = Simd::min(Simd::set(88.37f), Simd::max(Simd::set(-87.3f), x));
  const I power = Simd::round(Simd::mul(x, Simd::set(1.44269504f)));
  const F n = Simd::to_float(power);
  F r = Simd::fma(n, Simd::set(-0.693359375f), x);  // ln 2 in two parts
  r = Simd::fma(n, Simd::set(2.12194440e-4f), r);
  F p = Simd::set(1.9875691500e-4f);
  p = Simd::fma(p, r, Simd::set(1.3981999507e-3f));
  p = Simd::fma(p, r, Simd::set(8.3334519073e-3f));
  p = Simd::fma(p, r, Simd::set(4.1665795894e-2f));
  p = Simd::fma(p, r, Simd::set(1.6666665459e-1f));
  p = Simd::fma(p, r, Simd::set(5.0000001201e-1f));
  p = Simd::add(Simd::fma(p, Simd::mul(r, r), r), Simd::set(1.0f));
  return Simd::mul(p, Simd::from_bits(Simd::shl<23>(Simd::iadd(power, Simd::iset(127)))));
}

inline F sigmoid(F x) {
  const F one = Simd::set(1.0f);
  return Simd::div(one, Simd::add(one, exp(Simd::sub(Simd::zero(), x))));
}

inline F tanh(F x) {
  const F square = Simd::mul(x, x);
  F p = Simd::set(-5.70498872745e-3f);
  p = Simd::fma(p, square, Simd::set(2.06390887954e-2f));
  p = Simd::fma(p, square, Simd::set(-5.37397155531e-2f));
  p = Simd::fma(p, square, Simd::set(1.33314422036e-1f));
  p = Simd::fma(p, square, Simd::set(-3.33332819422e-1f));
  const F small = Simd::fma(Simd::mul(p, square), x, x);
  const F two = Simd::set(2.0f);
  const F large = Simd::sub(Simd::mul(two, sigmoid(Simd::mul(two, x))), Simd::set(1.0f));
  return Simd::select_less(square, Simd::set(0.390625f), small, large);
}

// Calls whole(i) for every full vector of [0, count) and part(i, n) for what is left.
template <class Whole, class Part>
[[gnu::always_inline]] inline void for_vectors(int64_t count, Whole&& whole, Part&& part) {
  int64_t i = 0;
  for (; i + Simd::N <= count; i += Simd::N) whole(i);
  if (i < count) part(i, static_cast<int>(count - i));
}

}  // namespace
}  // namespace smore
