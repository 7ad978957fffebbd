#include "engine/step_rows.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace smore {

StepRows::StepRows(const StepLimits& limits, int slots, const int32_t* slot_tokens)
    : slots_(slots),
      tokens_(limits.rows),
      row_slots_(limits.rows),
      positions_(limits.rows),
      row_sequence_(limits.rows) {
  wanted_.reserve(limits.rows);
  needed_.reserve(limits.rows);
  pooled_.reserve(limits.sequences);
  model_step_.tokens = {tokens_.data(), row_slots_.data(), slot_tokens};
}

void StepRows::build(const StepInput& step) {
  wanted_.clear();
  needed_.clear();
  pooled_.clear();
  for (int b = 0; b < step.counts->sequences; ++b) {
    use_slot(step, b);
    add_sequence(step, b);
  }
  model_step_.needed = needed_;
  model_step_.attention = {.rows = step.counts->rows,
                           .sequences = step.counts->sequences,
                           .row_start = step.row_start,
                           .row_sequence = row_sequence_.data(),
                           .context = step.context,
                           .block_start = step.block_start,
                           .blocks = step.blocks,
                           .positions = positions_.data()};
}

void StepRows::use_slot(const StepInput& step, int b) {
  const uint32_t flags = step.flags[b];
  SlotUse& use = slots_[step.slot[b]];
  const auto refuse = [&](const char* what) {
    throw Error(ErrorCode::kInvalidArgument, "step: slot " + std::to_string(step.slot[b]) +
                                                 " of sequence " + std::to_string(b) + what);
  };
  if (flags & kRestoreHistory) {
    use = {.sampled = false, .pooled = (flags & kPool) != 0};
  } else if ((flags & kPool) && !use.pooled) {
    refuse(" has pooled nothing to continue from");
  }
  if ((flags & kTokenFromSlot) && !use.sampled) refuse(" has no sampled token to continue from");
  use.sampled = use.sampled || (flags & kSample) != 0;
}

void StepRows::add_sequence(const StepInput& step, int b) {
  const uint32_t flags = step.flags[b];
  const int row_start = step.row_start[b];
  const int row_end = step.row_start[b + 1];
  for (int t = row_start; t < row_end; ++t) {
    tokens_[t] = step.tokens[t];
    row_slots_[t] = (flags & kTokenFromSlot) ? step.slot[b] : kOwnToken;
    positions_[t] = step.context[b] + t - row_start;
    row_sequence_[t] = b;
  }
  const size_t first_wanted = wanted_.size();
  const bool sample = flags & kSample;
  if (flags & kPromptLogprobs) {
    for (int t = row_start; t < row_end - (sample ? 1 : 0); ++t) {
      if (step.next_tokens[t] >= 0) wanted_.push_back({t, b, false});
    }
  }
  if (sample) wanted_.push_back({row_end - 1, b, true});
  if (flags & kPool) {
    pooled_.push_back(b);
    for (int t = row_start; t < row_end; ++t) needed_.push_back(t);
  } else {
    for (size_t i = first_wanted; i < wanted_.size(); ++i) needed_.push_back(wanted_[i].row);
  }
}

}  // namespace smore
