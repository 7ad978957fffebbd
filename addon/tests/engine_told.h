#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/engine_thread.h"

namespace smore {

// What an engine thread has told.
class Told {
 public:
  EngineThread::Events events() {
    return {.progress = [](uint64_t, uint64_t, const std::string&) {},
            .loaded = [this](std::shared_ptr<Engine> engine) { tell([&] { engine_ = engine; }); },
            .load_failed = [](std::exception_ptr) {},
            .step_done = [this](std::exception_ptr e) { tell([&] { done_.push_back(e); }); },
            .stopped = [this] { tell([&] { stopped_ = true; }); }};
  }

  bool stopped() {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }

  std::shared_ptr<Engine> engine() {
    wait([&] { return engine_ != nullptr; });
    return engine_;
  }

  // How the first `count` steps went, in their order.
  std::vector<bool> succeeded(size_t count) {
    wait([&] { return done_.size() >= count; });
    std::vector<bool> all;
    for (const std::exception_ptr& error : done_) all.push_back(error == nullptr);
    return all;
  }

 private:
  template <class Change>
  void tell(Change&& change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <class Condition>
  void wait(Condition&& condition) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<Engine> engine_;
  std::vector<std::exception_ptr> done_;
  bool stopped_ = false;
};

}  // namespace smore
