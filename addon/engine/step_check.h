#pragma once

#include <cstdint>
#include <vector>

#include "engine/step.h"

namespace smore {

// The ranges that the numbers of a step must keep to.
struct StepBounds {
  StepLimits limits{};
  int vocab = 0;
  int kv_pages = 0;
  int max_model_len = 0;
  int slots = 0;
};

// Judges a step before anything is computed: the arrays come from the other side of the border, and
// everything past this point trusts them.
class StepCheck {
 public:
  explicit StepCheck(const StepBounds& bounds);

  // Throws Error(kInvalidArgument) that names the array, the entry and the range.
  void check(const StepInput& step);

 private:
  void check_sequence(const StepInput& step, int b);
  void check_adapters(const StepInput& step, int b) const;
  void check_mask(const StepInput& step, int b) const;

  StepBounds bounds_;
  std::vector<bool> slot_used_;  // slots of the step under check
};

}  // namespace smore
