#include "core/touch_ahead.h"

#include <sys/mman.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/thread_priority.h"

namespace smore {
namespace {

// A second of keys and values, where models are small and the machine is fast.
constexpr size_t kAhead = size_t{64} << 20;
// Of one call: others of the process cannot map memory meanwhile.
constexpr size_t kPiece = size_t{2} << 20;
// How much further the use must be before the thread is woken for it.
constexpr size_t kStride = size_t{4} << 20;

// Whether the pages are there now.
bool touch(uint8_t* data, size_t size) {
#ifdef MADV_POPULATE_WRITE
  return madvise(data, size, MADV_POPULATE_WRITE) == 0;
#else
  return data == nullptr && size == 0;
#endif
}

}  // namespace

TouchAhead::TouchAhead(std::shared_ptr<uint8_t> memory, size_t size)
    : memory_(std::move(memory)), size_(size), wanted_(std::min(kAhead, size)) {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {  // there is none to be had
  }
}

TouchAhead::~TouchAhead() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void TouchAhead::used_until(size_t end) {
  const size_t wanted = std::min(end + kAhead, size_);
  if (wanted < std::min(asked_ + kStride, size_) || wanted == asked_) return;
  asked_ = wanted;
  {
    const std::lock_guard lock(mutex_);
    wanted_ = std::max(wanted_, wanted);
  }
  changed_.notify_one();
}

size_t TouchAhead::wait_for_more() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return ending_ || wanted_ > touched_; });
  return ending_ ? 0 : wanted_;
}

void TouchAhead::run() {
  let_others_first();
  while (touched_ < size_ && wait_for_more() > touched_) {
    const size_t piece = std::min(kPiece, size_ - touched_);
    if (!touch(memory_.get() + touched_, piece)) return;
    touched_ += piece;
  }
}

}  // namespace smore
