#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace smore {

// One thread that reads blocks from disk, what a step waits for before what is only expected.
class Loader {
 public:
  using Job = std::function<void()>;  // must not throw

  Loader();
  ~Loader();  // drops the jobs that have not begun
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  void push_urgent(Job job);
  void push_expected(Job job);

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> urgent_;
  std::deque<Job> expected_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace smore
