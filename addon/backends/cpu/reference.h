#pragma once

#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "core/tensor.h"

// The ops of backend.h in plain loops and double precision: what the kernels are tested against.

namespace smore::reference {

// y[rows, out] and, for tolerances, the sums of the products' magnitudes.
struct Product {
  std::vector<double> y;
  std::vector<double> magnitude;
};

// y[t] = W x[t] + bias.   w: out * in
Product matmul(const std::vector<float>& w, int out, int in, const std::vector<float>& x, int rows,
               const float* bias);

// Which groups of x, [rows, columns], are loud: kernels.h says what that is.
std::vector<bool> loud_groups(const std::vector<float>& x, int columns);

// x, [rows, columns], as the blocks of integers of one or two digits that quantised products see:
// rounded, then multiplied back.
std::vector<float> through_integers(const std::vector<float>& x, int columns, int digits);

// Rows in the half-split order, from GGUF's interleaved one.
std::vector<float> deinterleave(const std::vector<float>& w, int out, int in, int heads);

void rms_norm(const float* x, const float* weight, int width, float eps, double* y);
void rotate(double* x, int head_dim, int position, const ModelConfig& config);
double activate(Activation activation, double x);

// Attention of one query over keys and values [length, d] of its head, of which it sees the last
// `window`.
std::vector<double> attend(const std::vector<double>& q, const std::vector<double>& keys,
                           const std::vector<double>& values, int length,
                           const AttentionShape& shape);

}  // namespace smore::reference
