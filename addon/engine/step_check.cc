#include "engine/step_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "backends/backend.h"
#include "core/error.h"

namespace smore {

namespace {

constexpr int kMostLevels = 1024;  // deeper than any tree that fits in memory

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "step: " + what);
}

// Inclusive at both ends.
void require(const char* array, int64_t index, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  refuse(std::string(array) + "[" + std::to_string(index) + "] is " + std::to_string(value) +
         ", not in " + std::to_string(low) + ".." + std::to_string(high));
}

void require_number(const char* array, int index, float value, float low, float high) {
  if (value >= low && value <= high) return;  // false for NaN
  refuse(std::string(array) + "[" + std::to_string(index) + "] is " + std::to_string(value) +
         ", not in " + std::to_string(low) + ".." + std::to_string(high));
}

// Offsets of `count` pieces of an array: from 0, never falling, at most `limit`. `least` is the
// smallest piece.
void require_offsets(const char* array, const int32_t* offsets, int count, int limit, int least) {
  require(array, 0, offsets[0], 0, 0);
  for (int i = 0; i < count; ++i) {
    require(array, i + 1, offsets[i + 1], int64_t{offsets[i]} + least, limit);
  }
}

void require_all(const char* array, const int32_t* values, int begin, int end, int low, int high) {
  for (int i = begin; i < end; ++i) require(array, i, values[i], low, high);
}

}  // namespace

StepCheck::StepCheck(const StepBounds& bounds) : bounds_(bounds), slot_used_(bounds.slots) {}

void StepCheck::check(const StepInput& step) {
  const int rows = step.counts->rows;
  const int sequences = step.counts->sequences;
  require("counts", 0, rows, 1, bounds_.limits.rows);
  require("counts", 1, sequences, 1, bounds_.limits.sequences);
  require_offsets("row_start", step.row_start, sequences, rows, 1);
  require("row_start", sequences, step.row_start[sequences], rows, rows);
  require_offsets("block_start", step.block_start, sequences, bounds_.limits.blocks, 1);
  require_offsets("history_start", step.history_start, sequences, bounds_.limits.history, 0);
  require_offsets("bias_start", step.bias_start, sequences, bounds_.limits.biases, 0);
  require_offsets("route_start", step.route_start, sequences, bounds_.limits.routes, 0);
  require_offsets("adapter_start", step.adapter_start, sequences, sequences * kMaxAdapters, 0);
  require_offsets("ban_start", step.ban_start, step.adapter_start[sequences], bounds_.limits.bans,
                  0);
  require_all("ban_level", step.ban_level, 0, step.ban_start[step.adapter_start[sequences]], 0,
              kMostLevels - 1);
  std::fill(slot_used_.begin(), slot_used_.end(), false);
  for (int b = 0; b < sequences; ++b) check_sequence(step, b);
}

void StepCheck::check_sequence(const StepInput& step, int b) {
  const uint32_t flags = step.flags[b];
  const int row = step.row_start[b];
  const int row_end = step.row_start[b + 1];
  const int last_token = bounds_.vocab - 1;

  require("slot", b, step.slot[b], 0, bounds_.slots - 1);
  if (slot_used_[step.slot[b]]) {
    refuse("slot[" + std::to_string(b) + "] is " + std::to_string(step.slot[b]) +
           ", which another sequence of the step has");
  }
  slot_used_[step.slot[b]] = true;
  if (flags & ~kSequenceFlags) {
    refuse("flags[" + std::to_string(b) +
           "] has bits that mean nothing: " + std::to_string(flags & ~kSequenceFlags));
  }

  check_adapters(step, b);
  require("context", b, step.context[b], 0, bounds_.max_model_len - (row_end - row));
  const int positions = step.context[b] + row_end - row;
  const int blocks = step.block_start[b + 1] - step.block_start[b];
  if (int64_t{blocks} * kPageTokens < positions) {
    refuse("sequence " + std::to_string(b) + " has " + std::to_string(blocks) + " blocks for " +
           std::to_string(positions) + " positions");
  }
  require_all("blocks", step.blocks, step.block_start[b], step.block_start[b + 1], 0,
              bounds_.kv_pages - 1);

  if (flags & kTokenFromSlot) {
    require("rows of a sequence with its token in the slot", b, row_end - row, 1, 1);
  } else {
    require_all("tokens", step.tokens, row, row_end, 0, last_token);
  }
  if (flags & kPromptLogprobs) {
    require_all("next_tokens", step.next_tokens, row, row_end, -1, last_token);
  }
  if (flags & (kLogprobs | kPromptLogprobs)) {
    require("top_logprobs", b, step.top_logprobs[b], 0, std::min(kMaxTopLogprobs, bounds_.vocab));
  }
  if (flags & kRestoreHistory) {
    const int begin = step.history_start[b];
    const int end = step.history_start[b + 1];
    require("history_prompt", b, step.history_prompt[b], 0, end - begin);
    require_all("history", step.history, begin, end, 0, last_token);
  }
  require_all("bias_token", step.bias_token, step.bias_start[b], step.bias_start[b + 1], 0,
              last_token);
  for (int i = step.bias_start[b]; i < step.bias_start[b + 1]; ++i) {
    require_number("bias_value", i, step.bias_value[i], -1000, 1000);
  }
  if (flags & kPool) {
    if (flags & kRestoreHistory) require("context", b, step.context[b], 0, 0);
    if (flags & kTokenFromSlot) refuse("sequence " + std::to_string(b) + " pools no sampled token");
  }
  if (flags & kSample) {
    require("sample_index", b, step.sample_index[b], 0, INT32_MAX);
    require("top_k", b, step.top_k[b], 0, INT32_MAX);
    require_number("temperature", b, step.temperature[b], 0, INFINITY);
    require_number("top_p", b, step.top_p[b], 0, 1);
    require_number("min_p", b, step.min_p[b], 0, 1);
  }
  if (flags & kMask) check_mask(step, b);
  if (flags & kPenalties) {
    require_number("presence", b, step.presence[b], -100, 100);
    require_number("frequency", b, step.frequency[b], -100, 100);
    require_number("repetition", b, step.repetition[b], 1e-6f, 1e6f);
  }
}

void StepCheck::check_adapters(const StepInput& step, int b) const {
  const int first = step.adapter_start[b];
  const int end = step.adapter_start[b + 1];
  require("adapters of sequence", b, end - first, 0, kMaxAdapters);
  for (int m = first; m < end; ++m) {
    require("adapter", m, step.adapter[m], 1, INT32_MAX);
    if (std::find(step.adapter + first, step.adapter + m, step.adapter[m]) != step.adapter + m) {
      refuse("adapter[" + std::to_string(m) + "] is " + std::to_string(step.adapter[m]) +
             ", which the sequence has already");
    }
    require_number("adapter_scale", m, step.adapter_scale[m], -kMaxAdapterScale, kMaxAdapterScale);
    require_number("router_temperature", m, step.router_temperature[m],
                   std::numeric_limits<float>::min(), kMaxRouterTemperature);
  }
  if (!(step.flags[b] & kRoutes)) {
    require("routes of sequence", b, step.route_start[b + 1] - step.route_start[b], 0, 0);
  } else if (!(step.flags[b] & kSample)) {
    refuse("sequence " + std::to_string(b) + " samples no token whose routing could be read");
  }
}

void StepCheck::check_mask(const StepInput& step, int b) const {
  const int words = bit_words(bounds_.vocab);
  const uint32_t* mask = step.mask + int64_t{b} * words;
  uint32_t any = 0;
  for (int w = 0; w + 1 < words; ++w) any |= mask[w];
  const uint32_t past_end = mask[words - 1] & ~(UINT32_MAX >> (words * 32 - bounds_.vocab));
  if (past_end != 0)
    refuse("the mask of sequence " + std::to_string(b) + " exceeds the vocabulary");
  if ((any | mask[words - 1]) == 0) {
    refuse("the mask of sequence " + std::to_string(b) + " allows no token");
  }
}

}  // namespace smore
