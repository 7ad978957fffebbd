#include "experts/loader.h"

#include <utility>

namespace smore {

Loader::Loader() : thread_([this] { work(); }) {}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Loader::push_urgent(Job job) {
  {
    const std::lock_guard lock(mutex_);
    urgent_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Loader::push_expected(Job job) {
  {
    const std::lock_guard lock(mutex_);
    expected_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Loader::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stop_ || !urgent_.empty() || !expected_.empty(); });
    if (stop_) return;
    std::deque<Job>& queue = urgent_.empty() ? expected_ : urgent_;
    const Job job = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace smore
