#include "residual/activate.h"

namespace smore {
void activate(const DenseKernels& kernels, const Nonlinearity& activation, float* x,
              int64_t count) {
  switch (activation.curve) {
    case Curve::kIdentity:
      return;
    case Curve::kRelu:
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] < 0.0f ? 0.0f : x[i];
      return;
    case Curve::kTanh:
      tanh_values(kernels, x, count);
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
