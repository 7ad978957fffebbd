#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "experts/block_pool.h"
#include "experts/coldest_first.h"
#include "experts/key.h"
#include "experts/loader.h"
#include "experts/stats.h"
#include "experts/tier.h"

namespace smore {

struct CacheLimits {
  uint64_t bytes = 0;  // trunks and pages together
  int trunks = 0;      // adapters whose trunk may be resident at once; 0 = as many as fit
  std::string memory = "the memory for adapters";  // what the bytes are, for messages
};

// Where the bytes of adapters are. An adapter is registered (known), its trunk resident from
// acquire() on, its pages resident as far as the budget goes. Idle adapters give way first, least
// recently used first; then the least used pages of those that run. Whatever a step has pinned
// stays. The budget holds at every moment, blocks being loaded included; it counts blocks, beside
// which the pool's regions (block_pool.h) may hold free room while adapters of different sizes take
// turns.
class ExpertCache {
 public:
  explicit ExpertCache(CacheLimits limits, BlockMaker maker = {});
  ~ExpertCache();

  // Throws Error(kOutOfMemory) when the trunk and the largest page alone are over the budget.
  void add(int adapter, std::shared_ptr<BlockSource> source, const std::string& name);
  // Forgets the adapter once its last pin is gone.
  void remove(int adapter);

  // Loads the trunk (single flight), prefetches pages into what idle adapters leave, pins the
  // trunk. Waits for these loads. False when pinned adapters leave no room. Throws Error(kIo) when
  // the trunk cannot be read, Error(kInvalidArgument) when the adapter is not known (any more). Any
  // thread.
  bool acquire(int adapter);
  void release(int adapter);
  // Whether it is acquired now.
  bool pinned(int adapter) const;

  // The rest is for adapters that are acquired. Any thread: the engine's for its steps, and a
  // device's tier for what it copies from here.

  struct Resident {
    BlockSource* source;
    const std::byte* trunk;
    const std::byte* const* pages;  // [pages of the adapter], for hold() that returned true
    uint64_t arrivals;              // of pages so far: while it stays, so do whole adapters' pages
  };
  // Where the trunks are. True when every page of all these adapters is resident: all of them stay
  // until let_go(), so that who uses them asks for nothing more. Also of an adapter that was
  // removed but is still pinned. Whoever waits for room for a trunk comes first, so that steps that
  // hold their adapters one after the other leave it a turn.
  bool hold(std::span<const int> adapters, std::span<Resident> residents);
  // Ends what hold() granted for the same adapters; `used` tells which of their pages were, once
  // for each call that used them. An adapter that is held may be released and removed before.
  void let_go(std::span<const int> adapters, std::span<const PageKey> used);

  // Pins the longest prefix of `keys` that fits the budget beside the trunks, at least one page,
  // and waits until it is loaded. blocks[i] is null where a page could not be read. Returns its
  // length.
  size_t pin(std::span<const PageKey> keys, std::span<const std::byte*> blocks);
  // Ends what pin() returned for the same keys.
  void unpin(std::span<const PageKey> keys);

  CacheStats stats() const;
  // Throws Error(kInvalidArgument) when the adapter is not known (any more). Any thread.
  CachePlace place(int adapter) const;
  uint64_t budget() const { return limits_.bytes; }

 private:
  enum class State : uint8_t { kAbsent, kLoading, kResident };

  struct Page {
    BlockMemory memory;
    State state = State::kAbsent;
    int32_t users = 0;    // pins, beside the holds of the whole adapter
    bool listed = false;  // in its entry's `coldest`; every resident page without users is
    double heat = 0;      // uses since it came, each with the weight_ of its time
    uint64_t uses = 0;    // since registration: the order of prefetch
  };

  // How one load of a trunk ended, for everyone who waits for it.
  struct TrunkLoad {
    bool done = false;
    std::string error;  // empty = resident
  };

  struct Entry {
    int adapter = 0;
    std::shared_ptr<BlockSource> source;
    size_t largest_page = 0;
    BlockMemory trunk;
    State trunk_state = State::kAbsent;
    std::shared_ptr<TrunkLoad> trunk_load;
    std::vector<Page> pages;
    ColdestFirst coldest;                  // pages that may leave
    std::vector<const std::byte*> blocks;  // of the pages, null = not resident
    int pins = 0;
    int holds = 0;          // of hold(): all pages stay, and the trunk
    int loading = 0;        // blocks on their way
    uint64_t arrivals = 0;  // pages that came, over all time
    int resident_pages = 0;
    uint64_t resident_bytes = 0;  // of these pages
    uint64_t hits = 0;
    uint64_t misses = 0;
    uint64_t last_used = 0;  // count of releases at its last one
    std::string fault;       // of the last page that could not be loaded
    bool removed = false;

    bool holds_memory() const {
      return trunk_state != State::kAbsent || resident_pages > 0 || loading > 0;
    }
  };
  // What was let go under the lock, to be freed without it: giving back a large trunk takes
  // milliseconds, and release() and remove() come from a thread that must not wait.
  struct Graveyard {
    std::vector<BlockMemory> blocks;
    std::vector<std::unique_ptr<Entry>> entries;
  };
  using Lock = std::unique_lock<std::mutex>;

  Entry& entry(int adapter);
  Entry& acquired_entry(int adapter);
  bool admit_trunk(Lock& lock, Entry& entry);
  void admit_waiting();
  bool trunks_full() const;
  void load_trunk(Entry& entry);
  void prefetch(Lock& lock, Entry& entry);
  bool start_missing(Lock& lock, Entry& entry, int page, bool must);
  void expect(Entry& entry, int page);
  Loader::Job load_page(Entry& entry, int page);
  void finish_page(Entry& entry, int page, BlockMemory memory, const std::string& error,
                   double seconds);
  bool pinned_fit(const Entry& with) const;
  bool make_room(uint64_t bytes, bool from_pinned);
  bool evict_idle(uint64_t bytes);
  bool evict_coldest_pinned();
  void evict_pages(Entry& entry);
  void list(Entry& entry, int page);
  static int coldest(Entry& entry);
  void evict_page(Entry& entry, int page);
  void evict_trunk(Entry& entry);
  Entry* oldest_idle();
  void use(Entry& entry, int page, bool resident);
  void cool();
  void forget_if_unused(Entry& entry);
  void bury_soon();
  void bury();

  const CacheLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a load ended, a pin ended, memory was freed
  std::unordered_map<int, std::unique_ptr<Entry>> entries_;
  std::vector<Entry*> holders_;  // entries with memory: what eviction looks through
  CacheStats stats_;
  std::vector<Entry*> waiting_;  // for room for their trunks, once for each thread
  uint64_t releases_ = 0;
  uint64_t uses_ = 0;
  double weight_ = 1;  // of a use now: doubles where all heats would halve, which would visit them
  Graveyard dead_;
  const BlockMaker maker_;  // of trunks
  BlockPool pool_;          // of pages
  Loader loader_;           // last: its thread ends before the rest goes
};

// Pages that pin() gave, until the end of the scope.
class PinnedPages {
 public:
  PinnedPages(ExpertCache& cache, std::span<const PageKey> keys) : cache_(cache), keys_(keys) {}
  ~PinnedPages() { cache_.unpin(keys_); }
  PinnedPages(const PinnedPages&) = delete;
  PinnedPages& operator=(const PinnedPages&) = delete;

 private:
  ExpertCache& cache_;
  const std::span<const PageKey> keys_;
};

}  // namespace smore
