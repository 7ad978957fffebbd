#pragma once

#include <cstdint>

#include "backends/cuda/runtime.h"
#include "model/config.h"

// Ops of backend.h whose rows or values stand alone. All pointers are the device's.

namespace smore::cuda {

// y[t] = x[t] / rms(x[t]) * weight; NaN where a row's squares overflow.   x, y: [rows, width]
void rms_norm(const float* x, const float* weight, int rows, int width, float eps, float* y,
              const Stream& stream);

// x += y, then normed as above of x.                                      x, y, normed: [rows,
// width]
void add_and_norm(float* x, const float* y, const float* weight, int rows, int width, float eps,
                  float* normed, const Stream& stream);

// y[t] = act(gate_up[t, :F]) * gate_up[t, F:].                            gate_up: [rows, 2 F]
void gated_activation(Activation activation, const float* gate_up, int rows, int ffn_width,
                      float* y, const Stream& stream);

// x += y.                                                                 x, y: [count]
void add(float* x, const float* y, int64_t count, const Stream& stream);

// x = cap * tanh(x / cap).                                                x: [count]
void softcap(float cap, float* x, int64_t count, const Stream& stream);

// y[i] = x[rows[i]], rows rising; y may be x.                             x: [T, width]
void gather_rows(const float* x, const int32_t* rows, int count, int64_t width, float* y,
                 const Stream& stream);

}  // namespace smore::cuda
