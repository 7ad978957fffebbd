#pragma once

#include <span>

#include "engine/step_rows.h"

namespace smore {

// From one row of logits to the outputs of a step. Rows are independent of each other, so they may
// run on different threads; each touches its own sequence's slot and outputs only.

// Samples the sequence's next token into the slot.
void read_sampled_row(const StepInput& step, int sequence, std::span<const float> logits,
                      Slot& slot, const StepOutput& out);

// Log probability of the prompt token that follows this row.
void read_prompt_row(const StepInput& step, const WantedRow& wanted, std::span<const float> logits,
                     const StepOutput& out);

// Adds the sequence's rows, [rows, D], to the slot's sum, in the order of their positions, and
// writes the mean so far.
void pool_rows(const StepInput& step, int sequence, std::span<const float> states, Slot& slot,
               const StepOutput& out);

}  // namespace smore
