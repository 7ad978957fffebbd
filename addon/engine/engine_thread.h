#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "engine/engine.h"
#include "engine/step_watch.h"

namespace smore {

// The engine's own thread: loads the model, then runs the steps it is handed, in order. Between
// steps, and while a device computes one, it spins briefly and then sleeps. Knows nothing of Node;
// what happens is told through `Events`.
class EngineThread {
 public:
  // All called on the engine thread.
  struct Events {
    std::function<void(uint64_t done, uint64_t total, const std::string& what)> progress;
    std::function<void(std::shared_ptr<Engine>)> loaded;
    std::function<void(std::exception_ptr)> load_failed;  // the thread ends
    std::function<void(std::exception_ptr)> step_done;    // null = it succeeded
    std::function<void()> stopped;                        // last, also after load_failed
  };

  // Steps that may be under way: one that runs, and one that waits or that a device does next.
  static constexpr int kDepth = kStepsAhead;

  EngineThread(EngineConfig config, Events events);
  ~EngineThread();  // stops and joins

  // Hands over a step whose arrays stay as they are until step_done. Requires: loaded, not stopped,
  // and fewer than kDepth steps under way. From one thread.
  void submit(const StepInput& input, const StepOutput& output);

  // Asks the thread to end after the steps it was handed; gives up a load at its next matrix.
  void stop();

 private:
  struct Job {
    StepInput input;
    StepOutput output;
    std::exception_ptr error;  // of a launch
  };

  void run(const EngineConfig& config);
  std::shared_ptr<Engine> load(const EngineConfig& config);
  void serve(Engine& engine);
  void launch(Engine& engine, Job& job, const std::function<void()>& settle);
  void finish(Engine& engine, Job& job);
  bool is_done(Engine& engine, const Job& job);
  void wait_for_device(Engine& engine, StepWatch& watch, uint32_t seen, bool more_may_come);
  void wait_for_signal(uint32_t seen);
  void signal();

  Events events_;
  std::array<Job, kDepth> jobs_{};
  std::atomic<uint32_t> submitted_{0};
  std::atomic<uint32_t> signals_{0};  // changes with every submission and with stop
  std::atomic<bool> stop_{false};
  std::thread thread_;  // last: it uses everything above
};

}  // namespace smore
