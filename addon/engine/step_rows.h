#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/step.h"
#include "model/llama.h"
#include "sampling/history.h"

namespace smore {

// What the engine remembers of a sequence between steps.
struct Slot {
  int32_t token = -1;  // last sampled; -1 = none yet
  // A sequence that failed stays failed until its slot is given to another: steps that were planned
  // before the failure was known must not continue from half a cache.
  SequenceStatus status = SequenceStatus::kOk;
  TokenHistory history;          // filled for sequences with penalties
  std::vector<float> state_sum;  // D: of the positions so far, for sequences with kPool
};

// A checked step, laid out for the graph. Reused from step to step.
class StepRows {
 public:
  explicit StepRows(const StepLimits& limits);

  // Throws Error(kInvalidArgument) when a token is to come from a slot that has none.
  void build(const StepInput& step, std::span<const Slot> slots);

  ModelStep& model_step() { return model_step_; }
  // Of the model step; filled by StepAdapters.
  AdapterRows& adapters() { return model_step_.adapters; }
  std::span<const WantedRow> wanted() const { return wanted_; }

 private:
  void add_sequence(const StepInput& step, int b, const Slot& slot);

  ModelStep model_step_;
  std::vector<int32_t> tokens_;        // T
  std::vector<int32_t> positions_;     // T
  std::vector<int32_t> row_sequence_;  // T
  std::vector<WantedRow> wanted_;      // at most T
  std::vector<int32_t> needed_;        // at most T
};

}  // namespace smore
