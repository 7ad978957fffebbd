#include "residual/activate.h"

#include <algorithm>

namespace smore {
namespace {

// Odd rational minimax approximation, within 3 ulp of tanh; exact to float beyond the clamp.
// Without branches, so that the compiler makes vector code of the loop.
inline float tanh_rational(float v) {
  const float x = std::clamp(v, -7.90531110763549805f, 7.90531110763549805f);
  const float s = x * x;
  float p = -2.76076847742355e-16f;
  p = p * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  float q = 1.19825839466702e-06f;
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

}  // namespace

void activate(const Nonlinearity& activation, float* x, int64_t count) {
  switch (activation.curve) {
    case Curve::kIdentity:
      return;
    case Curve::kRelu:
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];
      return;
    case Curve::kTanh:
      for (int64_t i = 0; i < count; ++i) x[i] = tanh_rational(x[i]);
      return;
    case Curve::kPrelu:
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] < 0.0f ? activation.slope * x[i] : x[i];
      return;
  }
}

void add_scaled(float weight, const float* x, int64_t count, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] += weight * x[i];
}

}  // namespace smore
