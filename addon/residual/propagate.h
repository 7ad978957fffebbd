#pragma once

#include "residual/work.h"

namespace smore {

// Bottom-up half of a tree, and the products of its experts.

// Computes `own` of pairs [first, first + count) of one expert, whose page is given: for trees up
// to what the nodes gather (leaves of kTreeAll are activated, W's bias is added above them), for
// sums A x + a.
void expert_pairs(const DenseKernels& kernels, const Work& work, int l, const std::byte* page,
                  int64_t first, int count, Arena& scratch);

// Sums: y[row] += scale (B own + b) for outputs [first_output, first_output + outputs) of pairs
// [first, first + count) of one expert. The caller goes through experts in ascending order.
void add_expert_output(const DenseKernels& kernels, const Work& work, const std::byte* page,
                       int64_t first, int count, int first_output, int outputs);

// Trees: `top` of rows [first, first + count) from all their pairs.
void propagate(const DenseKernels& kernels, const Work& work, int first, int count, Arena& scratch);

// Trees: y[row] += W_final top + bias for outputs [first_output, first_output + outputs).
void add_final(const DenseKernels& kernels, const Work& work, int first, int count,
               int first_output, int outputs);

}  // namespace smore
