#include "engine/step_check.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/engine_harness.h"
#include "tests/refusal.h"

namespace smore {

namespace {

const StepBounds kBounds = {.limits = {.rows = 8,
                                       .sequences = 3,
                                       .blocks = 6,
                                       .history = 4,
                                       .biases = 2,
                                       .bans = 2,
                                       .routes = 3,
                                       .width = 0,
                                       .mask_words = 1,
                                       .layer_words = 1},
                            .vocab = 100,
                            .kv_pages = 10,
                            .max_model_len = 64,
                            .slots = 6};

Sequence good(int32_t slot) {
  return {.tokens = {1, 2},
          .slot = slot,
          .flags = kSample | kLogprobs | kPenalties,
          .adapters = {{.handle = 2, .bans = {{1, 0}}}, {.handle = 3, .scale = -2}},
          .seed = 1};
}

}  // namespace

TEST_CASE("a step within its bounds passes, and the check keeps nothing of it") {
  StepCheck check(kBounds);
  HandMadeStep step({good(0), good(5)});
  check.check(step.input());
  check.check(step.input());
}

TEST_CASE("the handles of a sequence come in any order, each once") {
  StepCheck check(kBounds);
  Sequence falling = good(0);
  falling.adapters = {{.handle = 7}, {.handle = 2}, {.handle = 5}};
  check.check(HandMadeStep({falling}).input());
  falling.adapters.push_back({.handle = 7});
  check_refused(ErrorCode::kInvalidArgument, "adapter[3] is 7, which the sequence has already",
                [&] { check.check(HandMadeStep({falling}).input()); });
}

TEST_CASE("a sequence has at most so many adapters") {
  StepCheck check(kBounds);
  Sequence many = {.tokens = {1}};
  for (int i = 1; i <= kMaxAdapters; ++i) many.adapters.push_back({.handle = i});
  check.check(HandMadeStep({many}).input());
  many.adapters.push_back({.handle = kMaxAdapters + 1});
  check_refused(ErrorCode::kInvalidArgument, "adapters of sequence[0] is 9, not in 0..8", [&] {
    check.check(HandMadeStep({many, good(1), good(2)}).input());
  });
}

TEST_CASE("a mask allows something, and nothing past the vocabulary") {
  StepCheck check(kBounds);
  Sequence masked = good(0);
  masked.flags |= kMask;
  masked.mask = {0, 0, 0, 1u << 3};  // token 99 of 100
  check.check(HandMadeStep({masked}).input());
  masked.mask = {0, 0, 0, 0};
  check_refused(ErrorCode::kInvalidArgument, "the mask of sequence 0 allows no token",
                [&] { check.check(HandMadeStep({masked}).input()); });
  masked.mask = {1, 0, 0, 1u << 4};
  check_refused(ErrorCode::kInvalidArgument, "the mask of sequence 0 exceeds the vocabulary",
                [&] { check.check(HandMadeStep({masked}).input()); });
}

TEST_CASE("flags that no part of the engine knows are refused") {
  StepCheck check(kBounds);
  Sequence unknown = good(0);
  unknown.flags |= 2 * kRoutes;
  check_refused(ErrorCode::kInvalidArgument, "flags[0] has bits that mean nothing: 512",
                [&] { check.check(HandMadeStep({unknown}).input()); });
}

TEST_CASE("every number that TypeScript could get wrong is refused by its array's name") {
  using Change = std::function<void(HandMadeStep&)>;
  const std::vector<std::pair<std::string, Change>> cases = {
      {"counts[0]", [](HandMadeStep& s) { s.counts.rows = 9; }},
      {"counts[0]", [](HandMadeStep& s) { s.counts.rows = 0; }},
      {"counts[1]", [](HandMadeStep& s) { s.counts.sequences = 4; }},
      {"row_start[0]", [](HandMadeStep& s) { s.row_start[0] = 1; }},
      {"row_start[1]", [](HandMadeStep& s) { s.row_start[1] = -1; }},
      {"row_start[1]", [](HandMadeStep& s) { s.row_start[1] = 0; }},
      {"row_start[2]", [](HandMadeStep& s) { s.row_start[2] = 3; }},
      {"block_start[2]", [](HandMadeStep& s) { s.block_start[2] = 7; }},
      {"history_start[1]", [](HandMadeStep& s) { s.history_start[1] = 5; }},
      {"bias_start[2]", [](HandMadeStep& s) { s.bias_start[2] = 3; }},
      {"tokens[3]", [](HandMadeStep& s) { s.tokens[3] = 100; }},
      {"tokens[0]", [](HandMadeStep& s) { s.tokens[0] = -1; }},
      {"slot[1]", [](HandMadeStep& s) { s.slot[1] = 6; }},
      {"which another sequence of the step has", [](HandMadeStep& s) { s.slot[1] = 0; }},
      {"adapter[0]", [](HandMadeStep& s) { s.adapter[0] = 0; }},
      {"adapter[3]", [](HandMadeStep& s) { s.adapter[3] = 2; }},
      {"adapter_start[1]", [](HandMadeStep& s) { s.adapter_start[1] = -1; }},
      {"adapter_scale[1]", [](HandMadeStep& s) { s.adapter_scale[1] = 16.5f; }},
      {"adapter_scale[2]", [](HandMadeStep& s) { s.adapter_scale[2] = NAN; }},
      {"router_temperature[0]", [](HandMadeStep& s) { s.router_temperature[0] = 0; }},
      {"router_temperature[3]", [](HandMadeStep& s) { s.router_temperature[3] = INFINITY; }},
      {"ban_start[4]", [](HandMadeStep& s) { s.ban_start[4] = 3; }},
      {"ban_level[1]", [](HandMadeStep& s) { s.ban_level[1] = -1; }},
      {"route_start[1]", [](HandMadeStep& s) { s.route_start[1] = 4; }},
      {"routes of sequence[0]", [](HandMadeStep& s) { s.route_start[1] = s.route_start[2] = 1; }},
      {"sequence 1 samples no token", [](HandMadeStep& s) { s.flags[1] = kRoutes; }},
      {"context[0]", [](HandMadeStep& s) { s.context[0] = 63; }},
      {"context[0]", [](HandMadeStep& s) { s.context[0] = -1; }},
      {"1 blocks for 18 positions", [](HandMadeStep& s) { s.context[0] = 16; }},
      {"blocks[1]", [](HandMadeStep& s) { s.blocks[1] = 10; }},
      {"context[0]",
       [](HandMadeStep& s) {
         s.context[0] = 1;
         s.flags[0] |= kPool | kRestoreHistory;
       }},
      {"token in the slot", [](HandMadeStep& s) { s.flags[0] |= kTokenFromSlot; }},
      {"top_logprobs[1]", [](HandMadeStep& s) { s.top_logprobs[1] = 21; }},
      {"history_prompt[0]", [](HandMadeStep& s) { s.history_prompt[0] = 1; }},
      {"sample_index[0]", [](HandMadeStep& s) { s.sample_index[0] = -1; }},
      {"top_k[0]", [](HandMadeStep& s) { s.top_k[0] = -1; }},
      {"temperature[0]", [](HandMadeStep& s) { s.temperature[0] = -0.1f; }},
      {"temperature[0]", [](HandMadeStep& s) { s.temperature[0] = NAN; }},
      {"top_p[0]", [](HandMadeStep& s) { s.top_p[0] = 1.5f; }},
      {"min_p[1]", [](HandMadeStep& s) { s.min_p[1] = 2; }},
      {"repetition[0]", [](HandMadeStep& s) { s.repetition[0] = 0; }},
      {"presence[1]", [](HandMadeStep& s) { s.presence[1] = INFINITY; }},
  };
  StepCheck check(kBounds);
  for (const auto& [part, change] : cases) {
    HandMadeStep step({good(0), good(1)});
    change(step);
    check_refused(ErrorCode::kInvalidArgument, part, [&] { check.check(step.input()); });
  }
}

}  // namespace smore
