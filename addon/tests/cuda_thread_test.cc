#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/emulated/streams.h"
#include "tests/engine_cases.h"
#include "tests/engine_told.h"

// The engine's thread while a device computes, and while it fails.

namespace smore {

namespace {

using namespace engine_cases;
using cuda::emulated::BrokenDevice;
using cuda::emulated::HeldDevice;

// An engine thread of a device, and a text that goes on by a step at a time.
struct Running {
  Told told;
  std::unique_ptr<EngineThread> thread =
      std::make_unique<EngineThread>(config("cuda:0"), told.events());
  int width = told.engine()->info().width;
  Sequence text{.tokens = {7, 9, 11}, .seed = 5, .temperature = 1};  // of the next step
  std::vector<std::unique_ptr<HandMadeStep>> steps;

  void submit() {
    steps.push_back(std::make_unique<HandMadeStep>(std::vector<Sequence>{text}, width));
    thread->submit(steps.back()->input(), steps.back()->output());
    text.context += static_cast<int32_t>(text.tokens.size());
    text.tokens = {0};
    text.flags |= kTokenFromSlot;
    text.sample_index += 1;
  }

  // Returns when the last step's kernels are on their stream.
  void await_launch(uint64_t launched_before) const {
    while (cuda::emulated::launched == launched_before) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
};

std::vector<int32_t> tokens_of(const Running& running) {
  std::vector<int32_t> tokens;
  for (const auto& step : running.steps) tokens.push_back(step->sampled[0]);
  return tokens;
}

}  // namespace

TEST_CASE("an engine's thread sleeps while a device computes, and begins a step that comes then") {
  Running want;
  for (size_t i = 1; i <= 3; ++i) want.submit(), want.told.succeeded(i);
  Running got;
  {
    const HeldDevice held;
    got.submit();
    held.await_sleepers(1);
    const uint64_t launched = cuda::emulated::launched;
    got.submit();
    got.await_launch(launched);
    CHECK(got.steps[0]->sampled[0] == -1);
    CHECK(got.told.succeeded(0).empty());
  }
  CHECK(got.told.succeeded(2) == std::vector<bool>{true, true});
  got.submit();
  CHECK(got.told.succeeded(3).back());
  CHECK(tokens_of(got) == tokens_of(want));
}

TEST_CASE("an engine's thread with all the steps that it may have sleeps until the first is done") {
  Running running;
  {
    const HeldDevice held;
    running.submit();
    running.submit();
    held.await_sleepers(1);
    CHECK(running.told.succeeded(0).empty());
  }
  CHECK(running.told.succeeded(2) == std::vector<bool>{true, true});
}

TEST_CASE("an engine's thread that is stopped while a device computes ends with its last step") {
  Running running;
  {
    const HeldDevice held;
    running.submit();
    held.await_sleepers(1);
    running.thread->stop();
    CHECK(!running.told.stopped());
  }
  running.thread.reset();
  CHECK(running.told.stopped());
  CHECK(running.told.succeeded(1) == std::vector<bool>{true});
}

TEST_CASE("a device that fails fails the steps that were begun, one after the other") {
  Running running;
  {
    const BrokenDevice broken;
    running.submit();
    running.submit();
    CHECK(running.told.succeeded(2) == std::vector<bool>{false, false});
    CHECK(tokens_of(running) == std::vector<int32_t>{-1, -1});
  }
  running.text = {.tokens = {7, 9, 11}};
  running.submit();
  CHECK(running.told.succeeded(3) == std::vector<bool>{false, false, true});
}

TEST_CASE("a device that fails while the engine's thread sleeps fails both steps, and it ends") {
  for (const bool one_waits : {true, false}) {
    CAPTURE(one_waits);
    Running running;
    std::optional<BrokenDevice> broken;
    {
      const HeldDevice held;
      running.submit();
      if (one_waits) held.await_sleepers(1);
      const uint64_t launched = cuda::emulated::launched;
      running.submit();
      if (one_waits) running.await_launch(launched);
      held.await_sleepers(1);
      broken.emplace();
    }
    CHECK(running.told.succeeded(2) == std::vector<bool>{false, false});
    running.submit();
    CHECK(running.told.succeeded(3) == std::vector<bool>{false, false, false});
    running.thread.reset();
    CHECK(running.told.stopped());
    CHECK(tokens_of(running) == std::vector<int32_t>{-1, -1, -1});
  }
}

}  // namespace smore
