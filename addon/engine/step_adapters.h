#pragma once

#include <deque>
#include <vector>

#include "engine/step.h"
#include "residual/adapters.h"

namespace smore {

// Which rows of a checked step go through which adapters, how, and where their routing is read out.
// Reused from step to step, with the room that it took.
class StepAdapters {
 public:
  // Writes `rows`, which refers to this object until the next call. Throws Error(kInvalidArgument)
  // when an adapter cannot be used as the step says, or the room for routes is not what it needs.
  void build(const StepInput& in, const StepOutput& out, const Adapters& adapters, int layer_words,
             AdapterRows& rows);

  // Rows that go through at least one adapter.
  int row_count() const { return row_count_; }

 private:
  const RouterControl* control_of(const StepInput& in, int member);
  void add_rows(AdapterRows::Group member, int row, int row_end, AdapterRows& rows);
  void add_probes(const StepInput& in, const StepOutput& out, int b, const uint32_t* layers,
                  const Adapters& adapters, AdapterRows& rows);

  std::deque<RouterControl> controls_;            // those of the step first
  size_t controls_used_ = 0;                      // of these
  std::vector<std::vector<int32_t>> spare_rows_;  // of groups of earlier steps, empty
  int row_count_ = 0;
};

}  // namespace smore
