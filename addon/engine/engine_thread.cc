#include "engine/engine_thread.h"

#include <chrono>
#include <utility>

#include "core/cpu_relax.h"
#include "core/error.h"
#include "core/thread_priority.h"

namespace smore {

namespace {

// Covers the time in which TypeScript commits a step and hands over the next one, and what is left
// of a step that a device is about to end.
constexpr std::chrono::microseconds kSpin{50};

// Spins; whether the condition came true meanwhile.
template <class Condition>
bool comes_soon(Condition&& condition) {
  constexpr int kRelaxesPerClockRead = 32;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kRelaxesPerClockRead; ++i) {
      if (condition()) return true;
      cpu_relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

EngineThread::EngineThread(EngineConfig config, Events events)
    : events_(std::move(events)), thread_([this, config = std::move(config)] { run(config); }) {}

EngineThread::~EngineThread() {
  stop();
  thread_.join();
}

void EngineThread::submit(const StepInput& input, const StepOutput& output) {
  const uint32_t number = submitted_.load(std::memory_order_relaxed);
  jobs_[number % kDepth] = {input, output, nullptr};
  submitted_.store(number + 1, std::memory_order_release);
  signal();
}

void EngineThread::stop() {
  stop_.store(true, std::memory_order_release);
  signal();
}

void EngineThread::signal() {
  signals_.fetch_add(1, std::memory_order_acq_rel);
  signals_.notify_one();
}

void EngineThread::run(const EngineConfig& config) {
  let_others_first();  // the pool's threads, which it starts, do too
  if (std::shared_ptr<Engine> engine = load(config)) {
    events_.loaded(engine);
    serve(*engine);
  }
  events_.stopped();
}

std::shared_ptr<Engine> EngineThread::load(const EngineConfig& config) {
  try {
    return Engine::load(config, [this](uint64_t done, uint64_t total, const std::string& what) {
      if (stop_.load(std::memory_order_acquire)) {
        throw Error(ErrorCode::kInvalidArgument, "the engine was closed while it was loading");
      }
      events_.progress(done, total, what);
    });
  } catch (...) {
    events_.load_failed(std::current_exception());
    return nullptr;
  }
}

// Where a device computes, a step is launched while the one before it runs there.
void EngineThread::serve(Engine& engine) {
  StepWatch watch([&] { engine.wait(); }, [this] { signal(); });
  uint32_t launched = 0;
  uint32_t finished = 0;
  const auto finish_next = [&] {
    watch.join();  // it waits for this one
    finish(engine, jobs_[finished++ % kDepth]);
  };
  for (;;) {
    const uint32_t seen = signals_.load(std::memory_order_acquire);
    const bool next = submitted_.load(std::memory_order_acquire) != launched;
    const bool under_way = launched != finished;
    if (under_way && !watch.watching() && is_done(engine, jobs_[finished % kDepth])) {
      finish_next();
    } else if (next) {
      launch(engine, jobs_[launched % kDepth], [&] {
        while (finished != launched) finish_next();
      });
      ++launched;
    } else if (under_way) {
      wait_for_device(engine, watch, seen, launched - finished < kDepth);
    } else if (stop_.load(std::memory_order_acquire)) {
      return;
    } else {
      wait_for_signal(seen);
    }
  }
}

// Until the oldest step is done or, where another one may come, a signal: for a moment by asking,
// then asleep.
void EngineThread::wait_for_device(Engine& engine, StepWatch& watch, uint32_t seen,
                                   bool more_may_come) {
  if (watch.watching()) return signals_.wait(seen, std::memory_order_acquire);
  const auto due = [&] {
    return engine.done() || signals_.load(std::memory_order_acquire) != seen;
  };
  if (comes_soon(due)) return;
  if (more_may_come) return watch.begin();
  engine.wait();
}

void EngineThread::launch(Engine& engine, Job& job, const std::function<void()>& settle) {
  try {
    engine.launch(job.input, job.output, settle);
  } catch (...) {
    job.error = std::current_exception();
  }
}

// A step that could not be launched was never begun.
bool EngineThread::is_done(Engine& engine, const Job& job) {
  return job.error != nullptr || engine.done();
}

void EngineThread::finish(Engine& engine, Job& job) {
  std::exception_ptr error = std::exchange(job.error, nullptr);
  try {
    if (error == nullptr) engine.finish();
  } catch (...) {
    error = std::current_exception();
  }
  events_.step_done(error);
}

void EngineThread::wait_for_signal(uint32_t seen) {
  const auto signalled = [&] { return signals_.load(std::memory_order_acquire) != seen; };
  if (!comes_soon(signalled)) signals_.wait(seen, std::memory_order_acquire);
}

}  // namespace smore
