#pragma once

#include "residual/work.h"

namespace smore {

// Bottom-up half of a tree, and the products of its experts.

// The work's rows of x for those of its experts that do not take floats, [count,
// rounded_width(in)]: weights of floats have one reduced form, and codes are all or none.
InputRows expert_input(const DenseKernels& kernels, const Work& work, Arena& scratch);

// Trees: computes `own` of one expert's pairs, whose page is given, up to what the nodes gather
// (leaves of kTreeAll are activated, W's bias is added above them).
void compute_own(const DenseKernels& kernels, const Work& work, const InputRows& input, int l,
                 int expert, const std::byte* page, Arena& scratch);

// Sums: y[row] += scale (B (A x + a) + b) for one expert's pairs, or `sum` where a work has one.
// Experts come in ascending order, so that a row's sum has one order whatever else is in the step.
void add_expert(const DenseKernels& kernels, Work& work, const InputRows& input, int expert,
                const std::byte* page, Arena& scratch);

// Trees: `top` of all rows from all their pairs.
void propagate(const DenseKernels& kernels, const Work& work, Arena& scratch);

// Trees: y[row] += scale (W_final top + bias) for outputs [first_output, first_output + outputs).
// Sums: what waited for its turn.
void add_final(const DenseKernels& kernels, const Work& work, int first_output, int outputs,
               Arena& scratch);

}  // namespace smore
