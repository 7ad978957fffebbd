#pragma once

#include "residual/work.h"

namespace smore {

// Top-down half of a tree: which experts each node chooses, level by level for all rows at once,
// always in float32; and the pairs of each level that follow from it. Fills the levels of a work,
// whose memory is taken, all but `own`.
void route(const DenseKernels& kernels, Work& work, Arena& scratch);

}  // namespace smore
