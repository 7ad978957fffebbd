#pragma once

#include "residual/work.h"

namespace smore {

// Top-down half of a tree: which experts each node chooses, level by level for all rows at once.
// Always in float32.

// token[i] = outputs [first_output, first_output + outputs) of the projection, for rows
// [first, first + count) of the work.
void project(const DenseKernels& kernels, const Work& work, int first, int count, int first_output,
             int outputs);

// Fills ids and scores of every level for rows [first, first + count) from their projected tokens.
void route(const DenseKernels& kernels, const Work& work, int first, int count, Arena& scratch);

// Lists the pairs of each level from the chosen ids: pair_of, expert_start, pair_row and own (not
// yet computed), all taken from `memory`.
void gather_pairs(Work& work, Arena& memory);

}  // namespace smore
