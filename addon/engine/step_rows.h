#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/step.h"
#include "model/llama.h"

namespace smore {

// What steps have asked of a slot since it was made new. What came of it only the backend's Readout
// knows: the next step begins before.
struct SlotUse {
  bool sampled = false;
  bool pooled = false;
};

// A checked step, laid out for the graph. Reused from step to step.
class StepRows {
 public:
  StepRows(const StepLimits& limits, int slots, const int32_t* slot_tokens);

  // Throws Error(kInvalidArgument) when a token or a sum of states is to come from a slot that has
  // none.
  void build(const StepInput& step);

  ModelStep& model_step() { return model_step_; }
  // Of the model step; filled by StepAdapters.
  AdapterRows& adapters() { return model_step_.adapters; }
  std::span<const WantedRow> wanted() const { return wanted_; }
  std::span<const int32_t> pooled() const { return pooled_; }  // sequences

 private:
  void use_slot(const StepInput& step, int b);
  void add_sequence(const StepInput& step, int b);

  std::vector<SlotUse> slots_;
  ModelStep model_step_;
  std::vector<int32_t> tokens_;        // T
  std::vector<int32_t> row_slots_;     // T: TokenRows::slots
  std::vector<int32_t> positions_;     // T
  std::vector<int32_t> row_sequence_;  // T
  std::vector<WantedRow> wanted_;      // at most T
  std::vector<int32_t> needed_;        // at most T
  std::vector<int32_t> pooled_;        // at most B
};

}  // namespace smore
