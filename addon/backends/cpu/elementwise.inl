// Norms, rotary embedding and activations of one row, in terms of Simd.

#include "backends/cpu/kernels.h"
#include "backends/cpu/vector_math.inl"

namespace smore {
namespace {

inline F silu(F x) { return Simd::mul(x, sigmoid(x)); }

// 0.5 x (1 + tanh u) = x sigmoid(2 u).
inline F gelu_tanh(F x) {
  const F cube = Simd::mul(Simd::mul(x, x), x);
  const F u = Simd::mul(Simd::set(0.79788456f), Simd::fma(Simd::set(0.044715f), cube, x));
  return Simd::mul(x, sigmoid(Simd::add(u, u)));
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
