#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "backends/cuda/runtime.h"
#include "experts/cache.h"

namespace smore::cuda {

// How far the copies and the uses of one adapter are. Both are counted over all adapters, from 1.
struct Tickets {
  Event copied;                   // the newest copy of its pages
  std::atomic<uint64_t> copy{0};  // its number
  std::atomic<uint64_t> use{0};   // number of the newest use
  uint64_t awaited = 0;           // the copy that the kernels' stream waits for already
};

// A whole adapter of the host tier: let go at the end, unless it is kept for a copy under way.
class HeldAdapter {
 public:
  HeldAdapter(ExpertCache& host, int adapter)
      : host_(host), adapter_(adapter), whole_(host.hold({&adapter_, 1}, {&resident_, 1})) {}
  ~HeldAdapter() {
    if (whole_) host_.let_go({&adapter_, 1}, {});
  }
  HeldAdapter(const HeldAdapter&) = delete;
  HeldAdapter& operator=(const HeldAdapter&) = delete;

  bool whole() const { return whole_; }
  const ExpertCache::Resident& resident() const { return resident_; }
  void keep() { whole_ = false; }

 private:
  ExpertCache& host_;
  const int adapter_;
  ExpertCache::Resident resident_;
  bool whole_;
};

// The way from the host tier to the device's: copies on a stream of their own. Nobody waits for a
// page that was ordered ahead of what uses it: the kernels' stream does, by an event. Streams wait
// for each other as little as bytes demand: kernels for the copies of their own adapters, and
// copies for the last use of the block that they overwrite.
class Copies {
 public:
  Copies(int device, ExpertCache& host);
  ~Copies();

  // Of a new adapter. Any thread.
  std::shared_ptr<Tickets> tickets() const;

  // Zeros beside the tier's blocks, that go back behind the owner's last use. Any thread.
  BlockMemory take_zeros(size_t bytes, const std::shared_ptr<Tickets>& owner);

  // The following three on the loader's thread of the device's tier, whose blocks may be such as
  // kernels before this still read. Throw Error(kIo) when the page cannot be read.
  void copy_page(PageKey key, std::byte* to, size_t bytes, const std::shared_ptr<Tickets>& owner);
  void copy_now(std::byte* to, const std::byte* from, size_t bytes,
                const std::shared_ptr<Tickets>& owner);
  // Memory of the device's tier.
  BlockMemory take(size_t bytes);

  // Waits for the copies of an adapter, or for all, and lets their host pages go. Any thread.
  // Whoever has had pages loaded calls it, as the host tier cannot give up what is being copied.
  void settle(const Tickets& owner);
  void settle();

  // On the engine's thread. What is put on the stream after the first comes after the copies of
  // these adapters so far; what is copied over their memory after the second comes after what was
  // on the stream.
  void begin_use(std::span<const std::shared_ptr<Tickets>> adapters, const Stream& stream);
  void end_use(std::span<const std::shared_ptr<Tickets>> adapters, const Stream& stream);

 private:
  static constexpr uint64_t kUses = 8;  // whose events are kept: more than steps under way

  struct UnderWay {
    uint64_t copy;
    int adapter;  // of the host tier, where it is held
  };

  void order_after_use(const std::byte* block, size_t bytes);
  void order_after(uint64_t use);
  void give_back(std::byte* block, size_t bytes);
  template <class Wait>
  void settle_to(uint64_t copy, Wait&& wait);
  void let_go_to(uint64_t copy);

  const int device_;
  ExpertCache& host_;
  Stream stream_;
  DevicePool pool_;
  // Blocks that were copied to, and whose they were then. Of the loader's thread.
  std::map<const std::byte*, std::shared_ptr<Tickets>> owners_;
  Event used_[kUses];                 // of use u: u % kUses
  std::atomic<uint64_t> uses_{0};     // so far
  std::atomic<uint64_t> settled_{0};  // copies up to this one are done and let go
  std::mutex mutex_;                  // of the following
  uint64_t copies_ = 0;               // so far
  std::deque<UnderWay> under_way_;    // in their order
};

}  // namespace smore::cuda
