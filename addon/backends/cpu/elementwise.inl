// Norms, rotary embedding and activations of one row, in terms of Simd.

#include "backends/cpu/kernels.h"

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

inline F silu(F x) { return Simd::mul(x, sigmoid(x)); }

// 0.5 x (1 + tanh u) = x sigmoid(2 u).
inline F gelu_tanh(F x) {
  const F cube = Simd::mul(Simd::mul(x, x), x);
  const F u = Simd::mul(Simd::set(0.79788456f), Simd::fma(Simd::set(0.044715f), cube, x));
  return Simd::mul(x, sigmoid(Simd::add(u, u)));
}

// Calls whole(i) for every full vector of [0, count) and part(i, n) for what is left.
template <class Whole, class Part>
[[gnu::always_inline]] inline void for_vectors(int64_t count, Whole&& whole, Part&& part) {
  int64_t i = 0;
  for (; i + Simd::N <= count; i += Simd::N) whole(i);
  if (i < count) part(i, static_cast<int>(count - i));
}

void rms_norm(const float* x, const float* weight, int width, float eps, float* y) {
  F squares = Simd::zero();
  for_vectors(
      width,
      [&](int64_t i) {
        const F v = Simd::load(x + i);
        squares = Simd::fma(v, v, squares);
      },
      [&](int64_t i, int n) {
        const F v = Simd::load_part(x + i, n);
        squares = Simd::fma(v, v, squares);
      });
  const float mean = Simd::sum(squares) / static_cast<float>(width);
  // An infinite mean would make zeros of a row that overflowed, which look like any other result.
  const float root = mean < __builtin_inff() ? __builtin_sqrtf(mean + eps) : __builtin_nanf("");
  const F scale = Simd::set(1.0f / root);
  for_vectors(
      width,
      [&](int64_t i) {
        Simd::store(y + i, Simd::mul(Simd::mul(Simd::load(x + i), scale), Simd::load(weight + i)));
      },
      [&](int64_t i, int n) {
        const F v = Simd::mul(Simd::load_part(x + i, n), scale);
        Simd::store_part(y + i, Simd::mul(v, Simd::load_part(weight + i, n)), n);
      });
}

void rotate(float* x, const float* cosines, const float* sines, int half_dim) {
  float* low = x;
  float* high = x + half_dim;
  const auto turn = [](F a, F b, F c, F s, F& first, F& second) {
    first = Simd::sub(Simd::mul(a, c), Simd::mul(b, s));
    second = Simd::add(Simd::mul(b, c), Simd::mul(a, s));
  };
  for_vectors(
      half_dim,
      [&](int64_t i) {
        F first, second;
        turn(Simd::load(low + i), Simd::load(high + i), Simd::load(cosines + i),
             Simd::load(sines + i), first, second);
        Simd::store(low + i, first);
        Simd::store(high + i, second);
      },
      [&](int64_t i, int n) {
        F first, second;
        turn(Simd::load_part(low + i, n), Simd::load_part(high + i, n),
             Simd::load_part(cosines + i, n), Simd::load_part(sines + i, n), first, second);
        Simd::store_part(low + i, first, n);
        Simd::store_part(high + i, second, n);
      });
}

void to_half(const float* x, int count, uint16_t* y) {
  for_vectors(
      count, [&](int64_t i) { Simd::store_half(y + i, Simd::load(x + i)); },
      [&](int64_t i, int n) {
        uint16_t halves[Simd::N];
        Simd::store_half(halves, Simd::load_part(x + i, n));
        for (int j = 0; j < n; ++j) y[i + j] = halves[j];
      });
}

void gated_activation(Activation activation, const float* gate, const float* up, int64_t count,
                      float* y) {
  const auto run = [&](auto&& act) {
    for_vectors(
        count,
        [&](int64_t i) {
          Simd::store(y + i, Simd::mul(act(Simd::load(gate + i)), Simd::load(up + i)));
        },
        [&](int64_t i, int n) {
          Simd::store_part(
              y + i, Simd::mul(act(Simd::load_part(gate + i, n)), Simd::load_part(up + i, n)), n);
        });
  };
  if (activation == Activation::kSilu) {
    run([](F v) { return silu(v); });
  } else {
    run([](F v) { return gelu_tanh(v); });
  }
}

void add(float* x, const float* y, int64_t count) {
  for_vectors(
      count,
      [&](int64_t i) { Simd::store(x + i, Simd::add(Simd::load(x + i), Simd::load(y + i))); },
      [&](int64_t i, int n) {
        Simd::store_part(x + i, Simd::add(Simd::load_part(x + i, n), Simd::load_part(y + i, n)), n);
      });
}

void softcap(float cap, float* x, int64_t count) {
  const F scale = Simd::set(cap);
  const auto capped = [&](F v) { return Simd::mul(scale, tanh(Simd::div(v, scale))); };
  for_vectors(
      count, [&](int64_t i) { Simd::store(x + i, capped(Simd::load(x + i))); },
      [&](int64_t i, int n) { Simd::store_part(x + i, capped(Simd::load_part(x + i, n)), n); });
}

}  // namespace
}  // namespace smore
