#pragma once

#include <span>
#include <vector>

#include "backends/readout.h"
#include "core/thread_pool.h"
#include "sampling/history.h"
#include "sampling/softmax.h"

namespace smore {

// Reads where the ops wrote, as soon as it is called: a step that has ended is done.
class CpuReadout final : public Readout {
 public:
  CpuReadout(const ReadoutShape& shape, WeightSum weight_sum, ThreadPool& threads);

  const int32_t* slot_tokens() const override { return tokens_.data(); }
  void begin(const StepInput& in, const StepOutput& out,
             std::span<const WantedRow> wanted) override;
  void fail(std::span<const int32_t> sequences) override;
  void read(int first, int count, const float* logits) override;
  void pool(std::span<const PooledRows> pooled, const float* states) override;
  void end() override {}
  bool done() override { return true; }
  void wait() override {}
  void finish() override {}

 private:
  struct Slot {
    // A sequence that failed stays failed until its slot is given to another: steps that were
    // planned before the failure was known must not continue from half a cache.
    SequenceStatus status = SequenceStatus::kOk;
    TokenHistory history;          // filled for sequences with penalties
    std::vector<float> state_sum;  // D: of the positions so far, for sequences with kPool
  };

  Slot& slot(int sequence) { return slots_[in_.slot[sequence]]; }
  bool failed(int sequence) { return slot(sequence).status != SequenceStatus::kOk; }
  void restore(int sequence);
  void read_sampled(int sequence, std::span<const float> logits);
  void read_prompt(const WantedRow& wanted, std::span<const float> logits);
  void pool_rows(const PooledRows& pooled, const float* states);

  const ReadoutShape shape_;
  const WeightSum weight_sum_;
  ThreadPool& threads_;
  std::vector<Slot> slots_;
  std::vector<int32_t> tokens_;  // last sampled into each slot
  // Of the step.
  StepInput in_{};
  StepOutput out_{};
  std::span<const WantedRow> wanted_;
  std::vector<int> valid_;  // rows of a call whose sequences have not failed
};

}  // namespace smore
