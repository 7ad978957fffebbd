#include <doctest/doctest.h>

#include <vector>

#include "tests/engine_cases.h"
#include "tests/engine_told.h"

// Steps that begin before the one before them is finished.

namespace smore {

namespace {

using namespace engine_cases;

constexpr int kSteps = 12;

// Two texts, one drawn with penalties and one with log probabilities.
std::vector<Sequence> texts() {
  return {{.tokens = {204, 274, 36},
           .flags = kSample | kPenalties,
           .seed = 3,
           .temperature = 1.3f,
           .presence = 0.7f,
           .frequency = 0.3f,
           .repetition = 1.2f},
          {.tokens = {252, 235},
           .slot = 1,
           .flags = kSample | kLogprobs,
           .first_page = 8,
           .seed = 4,
           .temperature = 0.9f,
           .top_p = 0.8f,
           .top_logprobs = 2}};
}

void go_on(std::vector<Sequence>& sequences) {
  for (Sequence& s : sequences) {
    s.context += static_cast<int32_t>(s.tokens.size());
    s.tokens = {0};
    s.flags |= kTokenFromSlot;
    s.sample_index += 1;
  }
}

std::vector<HandMadeStep> all_steps(const Engine& engine) {
  std::vector<HandMadeStep> steps;
  std::vector<Sequence> sequences = texts();
  for (int k = 0; k < kSteps; ++k) {
    steps.emplace_back(sequences, engine.info().width);
    go_on(sequences);
  }
  return steps;
}

void check_same(const std::vector<HandMadeStep>& got, const std::vector<HandMadeStep>& want) {
  for (int k = 0; k < kSteps; ++k) {
    CAPTURE(k);
    CHECK(got[k].status == std::vector<int32_t>{0, 0});
    CHECK(got[k].sampled == want[k].sampled);
    CHECK(got[k].sampled_logprob[1] == want[k].sampled_logprob[1]);
    CHECK(got[k].top_tokens == want[k].top_tokens);
  }
}

std::vector<HandMadeStep> one_by_one(Engine& engine) {
  std::vector<HandMadeStep> steps = all_steps(engine);
  for (HandMadeStep& step : steps) engine.step(step.input(), step.output());
  return steps;
}

}  // namespace

TEST_CASE("a step takes tokens of the step before it, finished or not, on every device") {
  for (const std::string& device : devices()) {
    CAPTURE(device);
    const std::unique_ptr<Engine> engine = load(config(device));
    const std::vector<HandMadeStep> want = one_by_one(*engine);
    std::vector<HandMadeStep> steps = all_steps(*engine);
    for (int k = 0; k < kSteps; ++k) {
      engine->launch(steps[k].input(), steps[k].output());
      // A device has no result before somebody waits for it.
      CHECK((steps[k].sampled[0] == -1) == (device != "cpu"));
      if (k > 0) engine->finish();
    }
    engine->finish();
    check_same(steps, want);
    double stats[kStatCount];
    engine->stats(stats);
    CHECK(stats[kStatSteps] == 2 * kSteps);
    CHECK(stats[kStatRows] == 2 * (5 + 2 * (kSteps - 1)));
  }
}

TEST_CASE("an engine thread tells of its steps in their order, those that cannot begin too") {
  for (const std::string& device : devices()) {
    CAPTURE(device);
    const std::vector<HandMadeStep> want = one_by_one(*load(config(device)));
    Told told;
    EngineThread thread(config(device), told.events());
    std::vector<HandMadeStep> steps = all_steps(*told.engine());
    for (int k = 0; k < kSteps; ++k) {
      if (k > 1) told.succeeded(k - 1);
      thread.submit(steps[k].input(), steps[k].output());
    }
    CHECK(told.succeeded(kSteps) == std::vector<bool>(kSteps, true));
    check_same(steps, want);
    HandMadeStep good({{.tokens = {1, 2}, .slot = 5}});
    HandMadeStep bad({{.tokens = {1}, .slot = 99}});
    thread.submit(good.input(), good.output());
    thread.submit(bad.input(), bad.output());
    CHECK(told.succeeded(kSteps + 2)[kSteps]);
    CHECK(!told.succeeded(kSteps + 2)[kSteps + 1]);
    CHECK(good.status[0] == 0);
    CHECK(good.sampled[0] >= 0);
  }
}

}  // namespace smore
