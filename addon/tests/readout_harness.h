#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/readout.h"
#include "engine/step_rows.h"
#include "tests/engine_harness.h"
#include "tests/kernel_cases.h"

namespace smore {

// A backend's readout without a model: steps are given their logits and states.
class ReadoutHarness {
 public:
  static constexpr int kSlots = 16;

  ReadoutHarness(const std::string& path, int vocab, int width = 1, int logit_rows = 3)
      : backend_(kernel_cases::backend(path, ActivationType::kFloat32)),
        vocab_(vocab),
        width_(width),
        logit_rows_(logit_rows),
        limits_({.rows = 64,
                 .sequences = kSlots,
                 .blocks = 64,
                 .history = 4096,
                 .biases = 256,
                 .bans = 0,
                 .routes = 0,
                 .width = width,
                 .mask_words = bit_words(vocab),
                 .layer_words = 1}),
        readout_(backend_->make_readout({limits_, vocab, kSlots, logit_rows})),
        rows_(limits_, kSlots, readout_->slot_tokens()) {}

  // A step that is under way.
  struct Step {
    HandMadeStep arrays;
    StepInput in;
    StepOutput out;
  };

  // logits: a row for each row that is wanted, [wanted, V]; states: for each row that is pooled.
  std::unique_ptr<Step> launch(const std::vector<Sequence>& sequences,
                               const std::vector<float>& logits,
                               const std::vector<float>& states = {},
                               const std::vector<int32_t>& failed = {}) {
    auto step = std::make_unique<Step>(Step{HandMadeStep(sequences, width_), {}, {}});
    step->in = step->arrays.input();
    step->out = step->arrays.output();
    rows_.build(step->in);
    const int wanted = static_cast<int>(rows_.wanted().size());
    REQUIRE(logits.size() == static_cast<size_t>(wanted) * vocab_);
    readout_->begin(step->in, step->out, rows_.wanted());
    if (!failed.empty()) readout_->fail(failed);
    for (int first = 0; first < wanted; first += logit_rows_) {
      const int count = std::min(logit_rows_, wanted - first);
      const Buffer placed = backend_->place(
          std::span(logits).subspan(int64_t{first} * vocab_, int64_t{count} * vocab_));
      readout_->read(first, count, placed.get());
    }
    pool(step->in, states);
    readout_->end();
    return step;
  }

  // Begins a step that goes no further.
  void give_up(const std::vector<Sequence>& sequences) {
    HandMadeStep step(sequences, width_);
    const StepInput in = step.input();
    rows_.build(in);
    readout_->begin(in, step.output(), rows_.wanted());
  }

  void finish() { readout_->finish(); }
  bool done() { return readout_->done(); }

  HandMadeStep run(const std::vector<Sequence>& sequences, const std::vector<float>& logits,
                   const std::vector<float>& states = {}, const std::vector<int32_t>& failed = {}) {
    const std::unique_ptr<Step> step = launch(sequences, logits, states, failed);
    finish();
    return std::move(step->arrays);
  }

 private:
  void pool(const StepInput& in, const std::vector<float>& states) {
    std::vector<PooledRows> pooled;
    int row = 0;
    for (const int32_t b : rows_.pooled()) {
      const int rows = in.row_start[b + 1] - in.row_start[b];
      pooled.push_back({b, row, rows});
      row += rows;
    }
    if (pooled.empty()) return;
    const Buffer placed = backend_->place(states);
    readout_->pool(pooled, placed.get());
  }

  std::unique_ptr<Backend> backend_;
  int vocab_;
  int width_;
  int logit_rows_;
  StepLimits limits_;
  std::unique_ptr<Readout> readout_;
  StepRows rows_;
};

}  // namespace smore
