#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

namespace smore {

// Takes memory from the system before it is used, a while ahead: where the system has to get it
// from a host, the first touch of 2 MB can take as long as a whole step. A thread of its own does
// that. Nothing is written, and memory that is never near to being used is not taken.
//
// Where the system gives no thread or does not know the call (Linux has it since 5.14), steps touch
// the memory themselves.
class TouchAhead {
 public:
  // `memory`: `size` bytes as of huge_bytes(). Its first part is taken at once.
  TouchAhead(std::shared_ptr<uint8_t> memory, size_t size);
  ~TouchAhead();

  // What lies before `end` is used, from now on or already. From one thread.
  void used_until(size_t end);

 private:
  void run();
  // Waits until more is wanted; how far, or 0 when there is an end of it.
  size_t wait_for_more();

  const std::shared_ptr<uint8_t> memory_;
  const size_t size_;
  size_t asked_ = 0;    // of the caller: how far it has asked for last
  size_t touched_ = 0;  // of the thread
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t wanted_;  // under mutex_
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace smore
