#pragma once

#include <cstdint>

#include "backends/cpu/dense.h"
#include "residual/tree.h"

namespace smore {

// x = act(x), in place. Equal inputs give equal bits wherever they stand.
void activate(const DenseKernels& kernels, const Nonlinearity& activation, float* x, int64_t count);

// y += weight * x.
void add_scaled(float weight, const float* x, int64_t count, float* y);

}  // namespace smore
