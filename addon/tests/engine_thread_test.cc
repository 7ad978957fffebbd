#include "engine/engine_thread.h"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine_cases.h"
#include "tests/refusal.h"

namespace smore {
namespace {

using engine_cases::config;

using Tokens = std::vector<int32_t>;

// What an engine's thread tells, for the thread that waits for it.
class Told {
 public:
  EngineThread::Events events() {
    return {.progress =
                [this](uint64_t, uint64_t, const std::string&) {
                  std::unique_lock lock(mutex_);
                  changed_.wait(lock, [this] { return may_load_; });
                },
            .loaded = [this](std::shared_ptr<Engine> engine) { tell(engine_, std::move(engine)); },
            .load_failed = [this](std::exception_ptr fault) { tell(load_fault_, fault); },
            .step_done =
                [this](std::exception_ptr fault) {
                  const std::lock_guard lock(mutex_);
                  faults_.push_back(fault);
                  changed_.notify_all();
                },
            .stopped =
                [this] {
                  const std::lock_guard lock(mutex_);
                  done_when_stopped_ = faults_.size();
                  changed_.notify_all();
                }};
  }

  // Until then a load waits at its first progress.
  void let_load() {
    const std::lock_guard lock(mutex_);
    may_load_ = true;
    changed_.notify_all();
  }

  std::shared_ptr<Engine> engine() { return wait_for(engine_); }
  std::exception_ptr load_fault() { return wait_for(load_fault_); }
  size_t done_when_stopped() { return wait_for(done_when_stopped_); }

  // How step `number` ended.
  std::exception_ptr step(size_t number) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return faults_.size() > number; });
    return faults_[number];
  }

 private:
  template <class T>
  void tell(std::optional<T>& what, T value) {
    const std::lock_guard lock(mutex_);
    what = std::move(value);
    changed_.notify_all();
  }

  template <class T>
  T wait_for(const std::optional<T>& what) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return what.has_value(); });
    return *what;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool may_load_ = false;
  std::optional<std::shared_ptr<Engine>> engine_;
  std::optional<std::exception_ptr> load_fault_;
  std::optional<size_t> done_when_stopped_;
  std::vector<std::exception_ptr> faults_;  // of steps, null = none
};

// A step of one short text; each `number` has a text of its own.
HandMadeStep step_of(int number) {
  return HandMadeStep(std::vector<Sequence>{{.tokens = {number % 97 + 1, number % 31 + 1}}});
}

int32_t token_alone(Engine& engine, int number) {
  HandMadeStep step = step_of(number);
  engine.step(step.input(), step.output());
  return step.sampled[0];
}

}  // namespace

TEST_CASE("an engine's thread runs every step it is handed, in order, awake or asleep") {
  constexpr int kSteps = 200;
  const auto seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  Tokens want;
  Told told;
  EngineThread thread(config(), told.events());
  told.let_load();
  {
    const std::shared_ptr<Engine> engine = told.engine();
    for (int number = 0; number < kSteps; ++number) want.push_back(token_alone(*engine, number));
  }
  std::array<std::optional<HandMadeStep>, EngineThread::kDepth> steps;
  Tokens got;
  const auto take = [&](int number) {
    CHECK(told.step(static_cast<size_t>(number)) == nullptr);
    got.push_back(steps[number % steps.size()]->sampled[0]);
  };
  for (int number = 0; number < kSteps; ++number) {
    auto& step = steps[number % steps.size()];
    if (step.has_value()) take(number - EngineThread::kDepth);
    step = step_of(number);
    // Some wait for longer than the thread spins.
    if (random() % 8 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
    thread.submit(step->input(), step->output());
  }
  for (int number = kSteps - EngineThread::kDepth; number < kSteps; ++number) take(number);
  CHECK(got == want);
}

TEST_CASE("a step that fails is told, and the next one runs") {
  Told told;
  EngineThread thread(config(), told.events());
  told.let_load();
  const int32_t want = token_alone(*told.engine(), 1);
  HandMadeStep wrong(std::vector<Sequence>{{.tokens = {-7}}});
  HandMadeStep right = step_of(1);
  thread.submit(wrong.input(), wrong.output());
  thread.submit(right.input(), right.output());
  check_refused(ErrorCode::kInvalidArgument, "-7", [&] { std::rethrow_exception(told.step(0)); });
  CHECK(told.step(1) == nullptr);
  CHECK(right.sampled[0] == want);
}

TEST_CASE("a thread that is stopped first runs the steps it was handed") {
  Told told;
  HandMadeStep first = step_of(1), second = step_of(2);
  int32_t want = -1;
  {
    EngineThread thread(config(), told.events());
    told.let_load();
    want = token_alone(*told.engine(), 2);
    thread.submit(first.input(), first.output());
    thread.submit(second.input(), second.output());
    thread.stop();
  }
  CHECK(told.done_when_stopped() == 2);
  CHECK(told.step(0) == nullptr);
  CHECK(told.step(1) == nullptr);
  CHECK(second.sampled[0] == want);
}

TEST_CASE("a thread that is stopped while it loads gives the load up and says so") {
  Told told;
  {
    EngineThread thread(config(), told.events());
    thread.stop();
    told.let_load();
  }
  CHECK(told.done_when_stopped() == 0);
  check_refused(ErrorCode::kInvalidArgument, "was closed while it was loading",
                [&] { std::rethrow_exception(told.load_fault()); });
}

TEST_CASE("a model that cannot be loaded ends the thread with the reason") {
  Told told;
  EngineConfig wrong = config();
  wrong.model_path = "/no/such/model.gguf";
  EngineThread thread(wrong, told.events());
  check_refused(ErrorCode::kIo, "/no/such/model.gguf",
                [&] { std::rethrow_exception(told.load_fault()); });
  CHECK(told.done_when_stopped() == 0);
}

}  // namespace smore
