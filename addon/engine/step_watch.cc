#include "engine/step_watch.h"

#include <system_error>
#include <utility>

namespace smore {

StepWatch::StepWatch(std::function<void()> wait, std::function<void()> tell)
    : wait_(std::move(wait)), tell_(std::move(tell)) {}

StepWatch::~StepWatch() {
  if (!thread_.joinable()) return;
  join();
  change(State::kEnding);
  thread_.join();
}

void StepWatch::begin() {
  try {
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {  // there is none to be had: the caller's sleeps
    wait_();
    tell_();
    return;
  }
  change(State::kWatching);
}

void StepWatch::change(State state) {
  state_.store(state, std::memory_order_release);
  state_.notify_all();
}

void StepWatch::run() {
  for (;;) {
    state_.wait(State::kIdle, std::memory_order_acquire);
    if (!watching()) return;
    wait_();
    change(State::kIdle);
    tell_();
  }
}

}  // namespace smore
