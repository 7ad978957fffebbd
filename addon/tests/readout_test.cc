#include "backends/readout.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tests/readout_harness.h"
#include "tests/refusal.h"

namespace smore {

namespace {

// The CPU's readout is one for all of its paths.
std::vector<std::string> backends() {
  if (cuda_devices().usable.empty()) return {""};
  return {"", kernel_cases::kCuda};
}

template <class Fn>
void for_each_readout(Fn&& fn) {
  for (const std::string& path : backends()) {
    CAPTURE(path);
    fn(path);
  }
}

std::vector<float> join(const std::vector<std::vector<float>>& rows) {
  std::vector<float> all;
  for (const std::vector<float>& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

}  // namespace

TEST_CASE("a sequence whose logits are not numbers fails alone and stays failed") {
  for_each_readout([](const std::string& path) {
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      ReadoutHarness harness(path, 4);
      const std::vector<float> good = {1, 3, 2, 0};
      std::vector<float> broken = good;
      broken[2] = bad;
      HandMadeStep step =
          harness.run({{.tokens = {1}}, {.tokens = {2}, .slot = 1}}, join({good, broken}));
      CHECK(step.status == std::vector<int32_t>{0, 1});
      CHECK(step.sampled == std::vector<int32_t>{1, -1});
      // A step that was planned before the failure was known still runs.
      const uint32_t next = kSample | kTokenFromSlot;
      step = harness.run({{.tokens = {0}, .flags = next, .context = 1},
                          {.tokens = {0}, .slot = 1, .flags = next, .context = 1}},
                         join({good, good}));
      CHECK(step.status == std::vector<int32_t>{0, 1});
      CHECK(step.sampled == std::vector<int32_t>{1, -1});
      step = harness.run({{.tokens = {0}, .slot = 1}}, good);
      CHECK(step.status == std::vector<int32_t>{0});
      CHECK(step.sampled == std::vector<int32_t>{1});
    }
  });
}

TEST_CASE("a step after one that was given up draws as if that had not been") {
  for_each_readout([](const std::string& path) {
    const std::vector<float> logits{0.5f, 0.25f, 1, 0.75f};
    const Sequence other{.tokens = {3}, .slot = 1, .seed = 9, .temperature = 2};
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const Sequence text{.tokens = {1}, .seed = seed, .temperature = 1};
      const auto want = ReadoutHarness(path, 4).run({text}, logits).sampled;
      ReadoutHarness got(path, 4);
      got.give_up({other, {.tokens = {2}, .slot = 2}});
      CHECK(got.run({text}, logits).sampled == want);
    }
  });
}

TEST_CASE("a prompt row that is not finite is told, and does not end its sequence") {
  for_each_readout([](const std::string& path) {
    ReadoutHarness harness(path, 4);
    const std::vector<float> good = {1, 3, 2, 0};
    const std::vector<float> broken = {1, 3, NAN, 0};
    HandMadeStep step = harness.run({{.tokens = {1, 2, 3},
                                      .next_tokens = {2, 3},
                                      .flags = kSample | kPromptLogprobs,
                                      .top_logprobs = 1}},
                                    join({good, broken, good}));
    CHECK(step.status == std::vector<int32_t>{1});
    CHECK(step.sampled == std::vector<int32_t>{1});
    CHECK(step.row_logprob[0] == doctest::Approx(2 - 3.4401897));
    CHECK(step.row_top_tokens[0] == 1);
    CHECK(step.row_top_tokens[kMaxTopLogprobs] == -1);
    step = harness.run({{.tokens = {0}, .context = 3}}, good);
    CHECK(step.status == std::vector<int32_t>{0});
  });
}

TEST_CASE("sequences of an adapter that failed have no token until their slot is made new") {
  for_each_readout([](const std::string& path) {
    ReadoutHarness harness(path, 4);
    const std::vector<float> logits = {1, 3, 2, 0, 1, 3, 2, 0};
    HandMadeStep step = harness.run({{.tokens = {1}}, {.tokens = {2}, .slot = 1}}, logits, {}, {0});
    CHECK(step.status == std::vector<int32_t>{2, 0});
    CHECK(step.sampled == std::vector<int32_t>{-1, 1});
    step = harness.run({{.tokens = {1}, .slot = 1, .context = 1}, {.tokens = {2}, .context = 1}},
                       logits);
    CHECK(step.status == std::vector<int32_t>{0, 2});
    CHECK(step.sampled == std::vector<int32_t>{1, -1});
    CHECK(harness.run({{.tokens = {1}}}, {1, 3, 2, 0}).status == std::vector<int32_t>{0});
  });
}

TEST_CASE("a mask leaves its tokens alone in the draw, and the logprobs as they are") {
  std::vector<float> logits(70, 0.0f);
  logits[3] = 9;
  logits[64] = 8;
  logits[69] = 7;
  const std::vector<uint32_t> allowed = {1u << 5, 0, 1u << 0 | 1u << 5};  // 5, 64 and 69
  const uint32_t flags = kSample | kMask | kLogprobs;
  for_each_readout([&](const std::string& path) {
    ReadoutHarness harness(path, 70);
    for (const float temperature : {0.0f, 0.01f}) {
      const HandMadeStep step = harness.run({{.tokens = {1},
                                              .flags = flags,
                                              .seed = 7,
                                              .temperature = temperature,
                                              .top_logprobs = 1,
                                              .mask = allowed}},
                                            logits);
      CHECK(step.sampled[0] == 64);
      CHECK(step.top_tokens[0] == 3);
      CHECK(step.sampled_logprob[0] == doctest::Approx(step.top_logprobs_out[0] - 1));
    }
    // Hot, all three come, and nothing else.
    std::vector<int> count(70);
    for (int32_t index = 0; index < 300; ++index) {
      const HandMadeStep step = harness.run({{.tokens = {1},
                                              .flags = flags,
                                              .sample_index = index,
                                              .temperature = 100,
                                              .top_p = 0.99f,
                                              .mask = allowed}},
                                            logits);
      ++count[step.sampled[0]];
    }
    CHECK(count[5] + count[64] + count[69] == 300);
    CHECK(count[5] > 50);
    CHECK(count[64] > 50);
    CHECK(count[69] > 50);
  });
}

TEST_CASE("a mask comes after biases and penalties") {
  for_each_readout([](const std::string& path) {
    ReadoutHarness harness(path, 4);
    const HandMadeStep step =
        harness.run({{.tokens = {1}, .biases = {{2, -5}}, .flags = kSample | kMask, .mask = {0xd}}},
                    {0, 3, 2, 1});
    CHECK(step.sampled[0] == 3);
  });
}

TEST_CASE("pooled states are means over all chunks of a prompt, and fail where they overflow") {
  for_each_readout([](const std::string& path) {
    ReadoutHarness harness(path, 4, 3);
    const Sequence first = {.tokens = {1, 2}, .flags = kPool};
    const Sequence overflowing = {.tokens = {1, 2}, .slot = 1, .flags = kPool};
    HandMadeStep step =
        harness.run({overflowing, first}, {}, {3e38f, 0, 0, 3e38f, 0, 0, 1, 2, 3, 5, 6, 7});
    CHECK(step.status == std::vector<int32_t>{1, 0});
    CHECK(std::vector<float>(step.pooled.begin() + 3, step.pooled.end()) ==
          std::vector<float>{3, 4, 5});
    Sequence rest = first;
    rest.tokens = {3};
    rest.context = 2;
    step = harness.run({rest}, {}, {0, -2, 5});
    CHECK(step.pooled == std::vector<float>{2, 2, 5});
    rest.slot = 1;
    CHECK(harness.run({rest}, {}, {0, 0, 0}).status == std::vector<int32_t>{1});
  });
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
  StepRows rows(limits, 2, nullptr);
  const HandMadeStep step({{.tokens = {0}, .flags = kSample | kTokenFromSlot, .context = 1}});
  check_refused(ErrorCode::kInvalidArgument, "slot 0 of sequence 0",
                [&] { rows.build(step.input()); });
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
  StepRows rows(limits, 4, nullptr);
  const HandMadeStep step(
      {{.tokens = {1, 2}, .slot = 0},
       {.tokens = {3, 4, 5},
        .next_tokens = {4, 5, 6},
        .slot = 1,
        .flags = kPromptLogprobs,
        .context = 20},
       {.tokens = {6}, .slot = 2},
       {.tokens = {7, 8}, .next_tokens = {8}, .slot = 3, .flags = kSample | kPromptLogprobs}});
  rows.build(step.input());
  const ModelStep& model = rows.model_step();
  CHECK(model.attention.positions[2] == 20);
  CHECK(model.attention.row_sequence[7] == 3);
  std::vector<int32_t> wanted;
  for (const WantedRow& row : rows.wanted()) wanted.push_back(row.sample ? row.row : -row.row);
  CHECK(wanted == std::vector<int32_t>{1, -2, -3, -4, 5, -6, 7});
}

}  // namespace smore
