#include "engine/readout.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "tests/engine_harness.h"
#include "tests/refusal.h"

namespace smore {

TEST_CASE("a sequence whose logits are not numbers fails alone and stays failed") {
  HandMadeStep step({{.tokens = {1}}, {.tokens = {2}, .slot = 1}});
  step.status = {0, 0};
  std::vector<Slot> slots(2);
  std::vector<float> logits = {1, 3, 2, 0};
  read_sampled_row(step.input(), 0, logits, slots[0], step.output());
  logits[2] = NAN;
  read_sampled_row(step.input(), 1, logits, slots[1], step.output());
  CHECK(step.status == std::vector<int32_t>{0, 1});
  CHECK(step.sampled == std::vector<int32_t>{1, -1});

  // A step that was planned before the failure was known still runs, on any token.
  const StepLimits limits = {.rows = 4,
                             .sequences = 2,
                             .blocks = 4,
                             .history = 0,
                             .biases = 0,
                             .bans = 0,
                             .routes = 0,
                             .width = 0,
                             .mask_words = 1,
                             .layer_words = 1};
  StepRows rows(limits);
  const HandMadeStep next(
      {{.tokens = {0}, .flags = kSample | kTokenFromSlot, .context = 1},
       {.tokens = {0}, .slot = 1, .flags = kSample | kTokenFromSlot, .context = 1}});
  rows.build(next.input(), slots);
  CHECK(rows.model_step().tokens[0] == 1);
  CHECK(rows.model_step().tokens[1] == 0);
}

TEST_CASE("a mask leaves its tokens alone in the draw, and the logprobs as they are") {
  std::vector<float> logits(70, 0.0f);
  logits[3] = 9;
  logits[64] = 8;
  logits[69] = 7;
  const std::vector<uint32_t> allowed = {1u << 5, 0, 1u << 0 | 1u << 5};  // 5, 64 and 69
  const uint32_t flags = kSample | kMask | kLogprobs;
  std::vector<Slot> slots(1);
  for (const float temperature : {0.0f, 0.01f}) {
    HandMadeStep step({{.tokens = {1},
                        .flags = flags,
                        .seed = 7,
                        .temperature = temperature,
                        .top_logprobs = 1,
                        .mask = allowed}});
    read_sampled_row(step.input(), 0, logits, slots[0], step.output());
    CHECK(step.sampled[0] == 64);
    CHECK(step.top_tokens[0] == 3);
    CHECK(step.sampled_logprob[0] == doctest::Approx(step.top_logprobs_out[0] - 1));
  }
  // Hot, all three come, and nothing else.
  std::vector<int> count(70);
  for (int32_t index = 0; index < 300; ++index) {
    HandMadeStep step({{.tokens = {1},
                        .flags = flags,
                        .sample_index = index,
                        .temperature = 100,
                        .top_p = 0.99f,
                        .mask = allowed}});
    read_sampled_row(step.input(), 0, logits, slots[0], step.output());
    ++count[step.sampled[0]];
  }
  CHECK(count[5] + count[64] + count[69] == 300);
  CHECK(count[5] > 50);
  CHECK(count[64] > 50);
  CHECK(count[69] > 50);
}

TEST_CASE("a mask comes after biases and penalties") {
  std::vector<float> logits = {0, 3, 2, 1};
  std::vector<Slot> slots(1);
  HandMadeStep step(
      {{.tokens = {1}, .biases = {{2, -5}}, .flags = kSample | kMask, .mask = {0xd}}});
  read_sampled_row(step.input(), 0, logits, slots[0], step.output());
  CHECK(step.sampled[0] == 3);
}

TEST_CASE("a token cannot come from a slot that has none") {
  const StepLimits limits = {.rows = 4,
                             .sequences = 2,
                             .blocks = 4,
                             .history = 0,
                             .biases = 0,
                             .bans = 0,
                             .routes = 0,
                             .width = 0,
                             .mask_words = 1,
                             .layer_words = 1};
  StepRows rows(limits);
  const std::vector<Slot> slots(2);
  const HandMadeStep step({{.tokens = {0}, .flags = kSample | kTokenFromSlot, .context = 1}});
  check_refused(ErrorCode::kInvalidArgument, "slot 0 of sequence 0",
                [&] { rows.build(step.input(), slots); });
}

TEST_CASE("prompt rows are wanted where a token follows") {
  const StepLimits limits = {.rows = 16,
                             .sequences = 4,
                             .blocks = 8,
                             .history = 0,
                             .biases = 0,
                             .bans = 0,
                             .routes = 0,
                             .width = 0,
                             .mask_words = 1,
                             .layer_words = 1};
  StepRows rows(limits);
  const std::vector<Slot> slots(4);
  const HandMadeStep step(
      {{.tokens = {1, 2}, .slot = 0},
       {.tokens = {3, 4, 5},
        .next_tokens = {4, 5, 6},
        .slot = 1,
        .flags = kPromptLogprobs,
        .context = 20},
       {.tokens = {6}, .slot = 2},
       {.tokens = {7, 8}, .next_tokens = {8}, .slot = 3, .flags = kSample | kPromptLogprobs}});
  rows.build(step.input(), slots);
  const ModelStep& model = rows.model_step();
  CHECK(model.attention.positions[2] == 20);
  CHECK(model.attention.row_sequence[7] == 3);
  std::vector<int32_t> wanted;
  for (const WantedRow& row : rows.wanted()) wanted.push_back(row.sample ? row.row : -row.row);
  CHECK(wanted == std::vector<int32_t>{1, -2, -3, -4, 5, -6, 7});
}

}  // namespace smore
