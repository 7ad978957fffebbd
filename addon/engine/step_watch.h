#pragma once

#include <atomic>
#include <functional>
#include <thread>

namespace smore {

// Sleeps until a device has done a step, for a thread that at the same time waits for something
// else. Its own thread starts with the first watch. All called by one thread.
class StepWatch {
 public:
  // Both called on the watch's thread: `wait` returns when the step is done, and `tell` is called
  // after that, once watching() is false.
  StepWatch(std::function<void()> wait, std::function<void()> tell);
  ~StepWatch();

  // Requires: not watching. Waits itself where the system gives no thread.
  void begin();
  bool watching() const { return state_.load(std::memory_order_acquire) == State::kWatching; }
  // Returns when it is not watching.
  void join() const { state_.wait(State::kWatching, std::memory_order_acquire); }

 private:
  enum class State : int { kIdle, kWatching, kEnding };

  void run();
  void change(State state);

  const std::function<void()> wait_;
  const std::function<void()> tell_;
  std::atomic<State> state_{State::kIdle};
  std::thread thread_;
};

}  // namespace smore
