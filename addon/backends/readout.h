#pragma once

#include <cstdint>
#include <span>

#include "engine/step.h"

namespace smore {

// A row of a step whose logits are wanted.
struct WantedRow {
  int32_t row;
  int32_t sequence;
  bool sample;  // else: log probability of the prompt token that follows
};

// A sequence whose states are pooled.
struct PooledRows {
  int32_t sequence;
  int32_t first;  // of its rows in the states, in the order of their positions
  int32_t rows;
};

struct ReadoutShape {
  StepLimits limits{};
  int vocab = 0;       // V
  int slots = 0;       // of sequences, StepInput::slot
  int logit_rows = 0;  // most rows of logits in one call of read()
};

// Steps that may have begun and not been finished.
inline constexpr int kStepsAhead = 2;

// What a backend keeps of sequences from step to step, in their slots, and how it gets a step's
// results from logits and states: last tokens, histories for penalties, sums of states. A step is
// begin(), the ops of the graph, fail(), read(), pool(), end(), and after that finish(). The next
// step may begin before this one is finished, but steps are finished in their order. A step that
// was given up before its end() is not finished; the next begin() forgets it.
class Readout {
 public:
  virtual ~Readout() = default;

  // The token last sampled into each slot, where Backend::embed reads it.
  virtual const int32_t* slot_tokens() const = 0;

  // Makes the slots of sequences with kRestoreHistory new. The arrays and `wanted` stay as they are
  // until the step is finished.
  virtual void begin(const StepInput& in, const StepOutput& out,
                     std::span<const WantedRow> wanted) = 0;

  // The rows of these sequences mean nothing. Their slots stay failed until they are made new.
  virtual void fail(std::span<const int32_t> sequences) = 0;

  // Reads wanted rows [first, first + count).                            logits: [count, V]
  virtual void read(int first, int count, const float* logits) = 0;

  // Adds rows to the slots' sums, and reads the means so far.            states: [.., D]
  virtual void pool(std::span<const PooledRows> pooled, const float* states) = 0;

  virtual void end() = 0;

  // Whether finish() would not have to wait. Requires: a step to finish.
  virtual bool done() = 0;

  // Sleeps until done() is true, also where the device has failed. From any thread, beside steps
  // that begin; not beside finish().
  virtual void wait() = 0;

  // Fills the outputs of the oldest step that has ended: statuses, tokens, log probabilities,
  // pooled states. Throws Error(kDevice) when the device failed; the step counts as finished.
  virtual void finish() = 0;
};

}  // namespace smore
