#pragma once

#include <span>

#include "backends/cuda/runtime.h"
#include "backends/cuda/trees_plan.h"

// The kernels of adapters, each for all works of a call: how many launches a call takes does not
// depend on how many adapters it has. Rows without adapters are in no work.

namespace smore::cuda {

// Blocks that a kernel needs for a work of `rows`; the levels of the plan are the host's.
int64_t blocks_of(const LinearPlan& linear, int rows, Stage stage);

// Works on the device, and how many blocks each kernel has for them: these and `count` are buckets
// of what is needed (bucket_of), so that steps that differ a little launch the same. Works behind
// the last one are none.
struct WorkList {
  const Work* works = nullptr;
  int count = 0;
  int blocks[kStages] = {};
};

// t = P x + bias, of trees.
void project(const WorkList& list, const Stream& stream);
// Top-down: which experts each node chooses, always in float32.
void route(const WorkList& list, const Stream& stream);
// Pairs of rows and experts from what was chosen, in one order; counts tokens of experts.
void gather_pairs(const WorkList& list, const Stream& stream);

// The following two for those pages that are there.
// A x + a of every pair.
void compress(const WorkList& list, const Stream& stream);
// `own` of every pair of trees, up to what the nodes gather.
void expand(const WorkList& list, const Stream& stream);
// Bottom-up: `result` of every level of trees.
void propagate(const WorkList& list, const Stream& stream);

// y += scale * delta: of trees, whose results are known; of sums, those experts whose pages are
// there. No row twice in a list.
enum class Finish { kTrees, kSums, kBoth };
void finish(const WorkList& list, Finish which, const Stream& stream);

}  // namespace smore::cuda
