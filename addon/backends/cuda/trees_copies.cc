#include "backends/cuda/trees_copies.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/error.h"

namespace smore::cuda {

Copies::Copies(int device, ExpertCache& host) : device_(device), host_(host), pool_(device) {}

Copies::~Copies() {
  try {
    settle();
  } catch (const Error&) {
    // The device has failed, as whoever waited for it was told.
  }
}

std::shared_ptr<Tickets> Copies::tickets() const {
  use_device(device_);  // whose events these are
  return std::make_shared<Tickets>();
}

BlockMemory Copies::take_zeros(size_t bytes, const std::shared_ptr<Tickets>& owner) {
  use_device(device_);
  const size_t size = std::max<size_t>(bytes, 1);
  std::byte* data = pool_.take(size, stream_);
  BlockMemory memory{data, [this, owner](std::byte* block) {
                       try {
                         order_after(owner->use);
                       } catch (const Error&) {
                         // A device that has failed uses nothing any more.
                       }
                       pool_.give_back(block, stream_);
                     }};
  fill_bytes(data, 0, size, stream_);
  stream_.synchronize();
  return memory;
}

// What comes on the stream may overwrite the block then. Whatever lay in it was used by steps with
// its owner alone, and the last of them had ended before it was evicted, so that the owner's last
// use is that one or a later one.
void Copies::order_after_use(const std::byte* block, size_t bytes) {
  uint64_t use = 0;
  auto at = owners_.lower_bound(block);
  for (; at != owners_.end() && at->first < block + bytes; at = owners_.erase(at)) {
    use = std::max<uint64_t>(use, at->second->use);
  }
  order_after(use);
}

// Of a use so long ago that its event has become another's, the oldest event left is a later one;
// and so is an event that is recorded anew meanwhile.
void Copies::order_after(uint64_t use) {
  use_device(device_);
  if (use == 0) return;
  const uint64_t newest = uses_;
  if (newest >= kUses) use = std::max(use, newest - kUses + 1);
  used_[use % kUses].make_wait(stream_);
}

// Fresh to whoever has it: a block goes back to the pool behind its last use, in the order of the
// stream on which it is taken again.
BlockMemory Copies::take(size_t bytes) {
  use_device(device_);
  const size_t size = std::max<size_t>(bytes, 1);
  std::byte* data = pool_.take(size, stream_);
  return {data, [this, size](std::byte* block) { give_back(block, size); }};
}

void Copies::give_back(std::byte* block, size_t bytes) {
  try {
    order_after_use(block, bytes);
  } catch (const Error&) {
    // A device that has failed uses nothing any more.
  }
  pool_.give_back(block, stream_);
}

void Copies::copy_page(PageKey key, std::byte* to, size_t bytes,
                       const std::shared_ptr<Tickets>& owner) {
  HeldAdapter held(host_, key.adapter);
  if (held.whole()) {
    order_after_use(to, bytes);
    owners_[to] = owner;
    copy_to_device(to, held.resident().pages[key.page], bytes, stream_);
    try {
      owner->copied.record(stream_);
      const std::lock_guard lock(mutex_);
      under_way_.push_back({copies_ + 1, key.adapter});
      owner->copy = ++copies_;  // last: who sees it waits for the event
    } catch (...) {
      stream_.synchronize();  // before the host's page is let go
      throw;
    }
    held.keep();
    return;
  }
  // The host tier may need what is being copied to make room.
  settle();
  const std::byte* from = nullptr;
  host_.pin({&key, 1}, {&from, 1});
  const PinnedPages pinned(host_, {&key, 1});
  if (from == nullptr) throw Error(ErrorCode::kIo, host_.place(key.adapter).fault);
  copy_now(to, from, bytes, owner);
}

void Copies::copy_now(std::byte* to, const std::byte* from, size_t bytes,
                      const std::shared_ptr<Tickets>& owner) {
  order_after_use(to, bytes);
  owners_[to] = owner;
  copy_to_device(to, from, bytes, stream_);
  stream_.synchronize();
}

void Copies::settle(const Tickets& owner) {
  // The event is that copy's or a later one's.
  settle_to(owner.copy, [&] { owner.copied.synchronize(); });
}

void Copies::settle() {
  uint64_t copy = 0;
  {
    const std::lock_guard lock(mutex_);
    copy = copies_;
  }
  settle_to(copy, [this] { stream_.synchronize(); });
}

template <class Wait>
void Copies::settle_to(uint64_t copy, Wait&& wait) {
  if (copy <= settled_) return;
  try {
    use_device(device_);
    wait();
  } catch (...) {
    let_go_to(copy);  // a device that fails reads no more
    throw;
  }
  let_go_to(copy);
}

// Under the mutex to the end, so that nothing of it is held any more once anybody's call returns.
void Copies::let_go_to(uint64_t copy) {
  const std::lock_guard lock(mutex_);
  std::vector<int> held;
  for (; !under_way_.empty() && under_way_.front().copy <= copy; under_way_.pop_front()) {
    held.push_back(under_way_.front().adapter);
  }
  if (!held.empty()) host_.let_go(held, {});
  settled_ = std::max<uint64_t>(settled_, copy);
}

void Copies::begin_use(std::span<const std::shared_ptr<Tickets>> adapters, const Stream& stream) {
  for (const auto& adapter : adapters) {
    const uint64_t copy = adapter->copy;
    if (copy <= settled_ || copy == adapter->awaited) continue;
    adapter->copied.make_wait(stream);
    adapter->awaited = copy;
  }
}

void Copies::end_use(std::span<const std::shared_ptr<Tickets>> adapters, const Stream& stream) {
  const uint64_t use = uses_ + 1;
  used_[use % kUses].record(stream);
  uses_ = use;
  for (const auto& adapter : adapters) adapter->use = use;
}

}  // namespace smore::cuda
