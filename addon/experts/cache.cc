#include "experts/cache.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "core/huge_pages.h"
#include "core/memory_text.h"

namespace smore {
namespace {

constexpr size_t kLine = 64;

// From here on what rounding to huge pages adds is small.
constexpr size_t kHugeBlock = size_t{8} << 20;

// Uses of pages after which those before count half: some dozens of steps of few sequences.
constexpr uint64_t kHalfLife = 1 << 15;

// A use has weighed one again when it comes to weigh this, far below what a double can hold.
constexpr double kHeaviestUse = 0x1p256;

// Pages that are told to load under one lock, which the event loop may wait for.
constexpr size_t kPagesAtOnce = 256;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

BlockMemory allocate_block(size_t bytes) {
  if (bytes >= kHugeBlock) return allocate_region(bytes);
  auto* memory = ::operator new(std::max(bytes, kLine), std::align_val_t{kLine});
  return {static_cast<std::byte*>(memory),
          [](std::byte* block) { ::operator delete(block, std::align_val_t{kLine}); }};
}

BlockMemory allocate_region(size_t bytes) {
  std::shared_ptr<uint8_t> memory = huge_bytes(bytes);
  return {memory, reinterpret_cast<std::byte*>(memory.get())};
}

ExpertCache::ExpertCache(CacheLimits limits, BlockMaker maker)
    : limits_(std::move(limits)), maker_(maker), pool_(std::move(maker)) {}

ExpertCache::~ExpertCache() = default;

void ExpertCache::add(int adapter, std::shared_ptr<BlockSource> source, const std::string& name) {
  auto added = std::make_unique<Entry>();
  added->adapter = adapter;
  for (int page = 0; page < source->pages(); ++page) {
    added->largest_page = std::max(added->largest_page, source->page_bytes(page));
  }
  const uint64_t least = source->trunk_bytes() + added->largest_page;
  if (least > limits_.bytes) {
    throw Error(ErrorCode::kOutOfMemory, name + ": needs " + memory_text(least) +
                                             " for its routers, W and one expert; " +
                                             limits_.memory + " is " + memory_text(limits_.bytes));
  }
  added->pages = std::vector<Page>(source->pages());
  added->blocks.resize(source->pages());
  added->source = std::move(source);
  const std::lock_guard lock(mutex_);
  entries_[adapter] = std::move(added);
}

void ExpertCache::remove(int adapter) {
  const std::lock_guard lock(mutex_);
  Entry& gone = entry(adapter);
  gone.removed = true;
  forget_if_unused(gone);
}

CachePlace ExpertCache::place(int adapter) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(adapter);
  if (found == entries_.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "adapter " + std::to_string(adapter) + " is not loaded");
  }
  const Entry& entry = *found->second;
  CachePlace place{.resident = entry.trunk_state == State::kResident,
                   .hits = entry.hits,
                   .misses = entry.misses,
                   .fault = entry.fault};
  if (place.resident) place.resident_bytes = entry.source->trunk_bytes();
  place.resident_bytes += entry.resident_bytes;
  return place;
}

ExpertCache::Entry& ExpertCache::entry(int adapter) {
  const auto found = entries_.find(adapter);
  SMORE_CHECK(found != entries_.end(), "the cache knows the adapter");
  return *found->second;
}

bool ExpertCache::acquire(int adapter) {
  Lock lock(mutex_);
  const auto found = entries_.find(adapter);
  if (found == entries_.end() || found->second->removed) {
    throw Error(ErrorCode::kInvalidArgument,
                "adapter " + std::to_string(adapter) + " is not loaded");
  }
  Entry& wanted = *found->second;
  wanted.pins += 1;
  if (!admit_trunk(lock, wanted)) {
    wanted.pins -= 1;
    forget_if_unused(wanted);
    changed_.notify_all();
    return false;
  }
  const std::shared_ptr<TrunkLoad> load = wanted.trunk_load;
  changed_.wait(lock, [&] { return load->done; });
  if (!load->error.empty()) {
    const std::string message = load->error;
    wanted.pins -= 1;
    forget_if_unused(wanted);
    changed_.notify_all();
    throw Error(ErrorCode::kIo, message);
  }
  prefetch(lock, wanted);
  return true;
}

void ExpertCache::release(int adapter) {
  const std::lock_guard lock(mutex_);
  Entry& released = entry(adapter);
  SMORE_CHECK(released.pins > 0, "a release follows an acquire");
  released.pins -= 1;
  released.last_used = ++releases_;
  forget_if_unused(released);
  changed_.notify_all();
}

// Sees to it that the trunk is resident or on its way. The caller has pinned the entry.
bool ExpertCache::admit_trunk(Lock& lock, Entry& wanted) {
  while (wanted.trunk_state == State::kAbsent) {
    if (!pinned_fit(wanted)) return false;
    if (trunks_full()) {
      Entry* idle = oldest_idle();
      if (idle == nullptr) return false;
      evict_pages(*idle);
      evict_trunk(*idle);
      continue;
    }
    if (make_room(wanted.source->trunk_bytes(), true)) {
      load_trunk(wanted);
      return true;
    }
    waiting_.push_back(&wanted);
    changed_.wait(lock);  // for pages that are loading or in use by a step
    waiting_.erase(std::find(waiting_.begin(), waiting_.end(), &wanted));
  }
  return true;
}

bool ExpertCache::trunks_full() const {
  return limits_.trunks > 0 && stats_.resident_trunks >= static_cast<uint64_t>(limits_.trunks);
}

void ExpertCache::admit_waiting() {
  for (Entry* wanted : waiting_) {
    if (wanted->trunk_state != State::kAbsent || !pinned_fit(*wanted) || trunks_full()) continue;
    if (make_room(wanted->source->trunk_bytes(), true)) load_trunk(*wanted);
  }
}

// Whether the trunks that must stay leave room for at least one page of any of them.
bool ExpertCache::pinned_fit(const Entry& with) const {
  uint64_t bytes = with.source->trunk_bytes();
  uint64_t largest_page = with.largest_page;
  for (const Entry* other : holders_) {
    if (other == &with || other->pins == 0 || other->trunk_state == State::kAbsent) continue;
    bytes += other->source->trunk_bytes();
    largest_page = std::max<uint64_t>(largest_page, other->largest_page);
  }
  return bytes + largest_page <= limits_.bytes;
}

void ExpertCache::load_trunk(Entry& wanted) {
  const size_t bytes = wanted.source->trunk_bytes();
  if (!wanted.holds_memory()) holders_.push_back(&wanted);
  wanted.trunk_state = State::kLoading;
  wanted.trunk_load = std::make_shared<TrunkLoad>();
  wanted.loading += 1;
  stats_.resident_bytes += bytes;
  stats_.resident_trunks += 1;
  loader_.push_urgent([this, &wanted, bytes] {
    const auto start = std::chrono::steady_clock::now();
    BlockMemory memory;
    std::string error;
    try {
      bury();
      memory = maker_.block(bytes);
      wanted.source->load_trunk(memory.get());
    } catch (const std::exception& fault) {
      error = fault.what();
      memory.reset();
    }
    const std::lock_guard lock(mutex_);
    stats_.load_seconds += seconds_since(start);
    wanted.loading -= 1;
    wanted.trunk_load->done = true;
    wanted.trunk_load->error = error;
    if (memory != nullptr) {
      stats_.load_bytes += bytes;
      wanted.trunk = std::move(memory);
      wanted.trunk_state = State::kResident;
    } else {
      evict_trunk(wanted);
    }
    changed_.notify_all();
  });
}

// Fills what idle adapters leave with this adapter's pages, the most used first.
void ExpertCache::prefetch(Lock& lock, Entry& wanted) {
  std::vector<int> order(wanted.pages.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return wanted.pages[a].uses > wanted.pages[b].uses; });
  std::vector<int> started;
  bool room = true;
  for (size_t next = 0; room && next < order.size();) {
    const size_t first = started.size();
    for (; next < order.size() && started.size() < first + kPagesAtOnce; ++next) {
      const int page = order[next];
      if (wanted.pages[page].state != State::kAbsent) continue;
      room = make_room(wanted.source->page_bytes(page), false);
      if (!room) break;
      expect(wanted, page);
      started.push_back(page);
    }
    lock.unlock();
    for (size_t i = first; i < started.size(); ++i) {
      loader_.push_expected(load_page(wanted, started[i]));
    }
    lock.lock();
  }
  for (int page : started) {
    changed_.wait(lock, [&] { return wanted.pages[page].state != State::kLoading; });
  }
}

// The caller hands load_page() to the loader.
void ExpertCache::expect(Entry& owner, int page) {
  owner.pages[page].state = State::kLoading;
  owner.loading += 1;
  stats_.resident_bytes += owner.source->page_bytes(page);
}

Loader::Job ExpertCache::load_page(Entry& owner, int page) {
  return [this, &owner, page] {
    const auto start = std::chrono::steady_clock::now();
    BlockMemory memory;
    std::string error;
    try {
      bury();
      memory = pool_.take(owner.source->page_bytes(page));
      owner.source->load_page(page, memory.get());
    } catch (const std::exception& fault) {
      error = fault.what();
      memory.reset();  // the page stays absent: the step that uses it fails those rows
    }
    finish_page(owner, page, std::move(memory), error, seconds_since(start));
  };
}

void ExpertCache::finish_page(Entry& owner, int page, BlockMemory memory, const std::string& error,
                              double seconds) {
  const std::lock_guard lock(mutex_);
  Page& loaded = owner.pages[page];
  const size_t bytes = owner.source->page_bytes(page);
  owner.loading -= 1;
  stats_.load_seconds += seconds;
  if (memory != nullptr) {
    loaded.memory = std::move(memory);
    owner.blocks[page] = loaded.memory.get();
    loaded.state = State::kResident;
    loaded.heat = weight_;
    if (loaded.users == 0) list(owner, page);
    owner.resident_pages += 1;
    owner.resident_bytes += bytes;
    owner.arrivals += 1;
    stats_.loads += 1;
    stats_.load_bytes += bytes;
    stats_.resident_pages += 1;
  } else {
    loaded.state = State::kAbsent;
    owner.fault = error;
    stats_.resident_bytes -= bytes;
  }
  forget_if_unused(owner);
  changed_.notify_all();
}

bool ExpertCache::pinned(int adapter) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(adapter);
  return found != entries_.end() && found->second->pins > 0 &&
         found->second->trunk_state == State::kResident;
}

ExpertCache::Entry& ExpertCache::acquired_entry(int adapter) {
  Entry& pinned = entry(adapter);
  SMORE_CHECK(pinned.pins > 0 && pinned.trunk_state == State::kResident,
              "a step uses acquired adapters only");
  return pinned;
}

bool ExpertCache::hold(std::span<const int> adapters, std::span<Resident> residents) {
  const std::lock_guard lock(mutex_);
  admit_waiting();
  bool whole = true;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const Entry& held = acquired_entry(adapters[i]);
    residents[i] = {held.source.get(), held.trunk.get(), held.blocks.data(), held.arrivals};
    whole = whole && held.resident_pages == static_cast<int>(held.pages.size());
  }
  if (!whole) return false;
  for (const int adapter : adapters) entry(adapter).holds += 1;
  return true;
}

void ExpertCache::let_go(std::span<const int> adapters, std::span<const PageKey> used) {
  const std::lock_guard lock(mutex_);
  Entry* owner = nullptr;
  for (const PageKey& key : used) {
    if (owner == nullptr || owner->adapter != key.adapter) owner = &entry(key.adapter);
    use(*owner, key.page, true);
  }
  for (const int adapter : adapters) {
    Entry& held = entry(adapter);
    held.holds -= 1;
    forget_if_unused(held);
  }
  changed_.notify_all();
}

size_t ExpertCache::pin(std::span<const PageKey> keys, std::span<const std::byte*> blocks) {
  Lock lock(mutex_);
  size_t count = 0;
  bool waits = false;
  Entry* owner = nullptr;
  for (; count < keys.size(); ++count) {
    if (owner == nullptr || owner->adapter != keys[count].adapter) {
      owner = &entry(keys[count].adapter);
    }
    Page& page = owner->pages[keys[count].page];
    if (page.state == State::kAbsent &&
        !start_missing(lock, *owner, keys[count].page, count == 0)) {
      break;
    }
    const bool resident = page.state == State::kResident;
    use(*owner, keys[count].page, resident);
    waits = waits || !resident;
    blocks[count] = page.memory.get();
    page.users += 1;
  }
  for (size_t i = 0; waits && i < count; ++i) {
    Page& page = entry(keys[i].adapter).pages[keys[i].page];
    changed_.wait(lock, [&] { return page.state != State::kLoading; });
    blocks[i] = page.memory.get();
  }
  return count;
}

// Starts to load an absent page when there is room for it. With `must`, waits for room: for loads
// that nobody uses yet to end.
bool ExpertCache::start_missing(Lock& lock, Entry& owner, int page, bool must) {
  bool room = make_room(owner.source->page_bytes(page), true);
  while (!room && must) {
    changed_.wait(lock);
    if (owner.pages[page].state != State::kAbsent) return true;
    room = make_room(owner.source->page_bytes(page), true);
  }
  if (!room) return false;
  expect(owner, page);
  loader_.push_urgent(load_page(owner, page));
  return true;
}

void ExpertCache::unpin(std::span<const PageKey> keys) {
  const std::lock_guard lock(mutex_);
  Entry* owner = nullptr;
  for (const PageKey& key : keys) {
    if (owner == nullptr || owner->adapter != key.adapter) owner = &entry(key.adapter);
    Page& page = owner->pages[key.page];
    page.users -= 1;
    if (page.users == 0 && page.state == State::kResident && !page.listed) list(*owner, key.page);
  }
  changed_.notify_all();
}

void ExpertCache::use(Entry& owner, int page, bool resident) {
  (resident ? stats_.hits : stats_.misses) += 1;
  (resident ? owner.hits : owner.misses) += 1;
  owner.pages[page].uses += 1;
  owner.pages[page].heat += weight_;
  owner.coldest.grown();
  if (++uses_ % kHalfLife == 0) cool();
}

void ExpertCache::cool() {
  weight_ *= 2;
  if (weight_ < kHeaviestUse) return;
  weight_ /= kHeaviestUse;
  for (Entry* holder : holders_) {
    for (Page& page : holder->pages) page.heat /= kHeaviestUse;
    holder->coldest.scale(1 / kHeaviestUse);
  }
}

void ExpertCache::list(Entry& owner, int page) {
  owner.pages[page].listed = true;
  owner.coldest.list(page, owner.pages[page].heat);
}

// The page of the entry that may leave first, -1 = none may.
int ExpertCache::coldest(Entry& owner) {
  return owner.coldest.coldest([&owner](int number) {
    Page& page = owner.pages[number];
    page.listed = page.users == 0;
    return page.listed ? page.heat : ColdestFirst::kBusy;
  });
}

// Frees memory until `bytes` more fit. Takes from adapters that run only when `from_pinned`.
bool ExpertCache::make_room(uint64_t bytes, bool from_pinned) {
  while (stats_.resident_bytes + bytes > limits_.bytes) {
    if (evict_idle(bytes)) continue;
    if (!from_pinned || !evict_coldest_pinned()) return false;
  }
  return true;
}

ExpertCache::Entry* ExpertCache::oldest_idle() {
  Entry* oldest = nullptr;
  for (Entry* holder : holders_) {
    if (holder->pins > 0 || holder->holds > 0 || holder->loading > 0) continue;
    if (oldest == nullptr || holder->last_used < oldest->last_used) oldest = holder;
  }
  return oldest;
}

// Takes from the idle adapter that was used longest ago: its coldest pages, at last its trunk.
bool ExpertCache::evict_idle(uint64_t bytes) {
  Entry* idle = oldest_idle();
  if (idle == nullptr) return false;
  while (stats_.resident_bytes + bytes > limits_.bytes) {
    const int page = coldest(*idle);
    if (page < 0) {
      evict_trunk(*idle);
      break;
    }
    idle->coldest.pop();
    evict_page(*idle, page);
  }
  return true;
}

bool ExpertCache::evict_coldest_pinned() {
  Entry* owner = nullptr;
  int coldest_page = -1;
  for (Entry* holder : holders_) {
    const int page = holder->holds > 0 ? -1 : coldest(*holder);
    if (page < 0) continue;
    if (owner != nullptr && holder->pages[page].heat >= owner->pages[coldest_page].heat) continue;
    owner = holder;
    coldest_page = page;
  }
  if (owner == nullptr) return false;
  owner->coldest.pop();
  evict_page(*owner, coldest_page);
  return true;
}

void ExpertCache::evict_pages(Entry& owner) {
  for (int page = 0; page < static_cast<int>(owner.pages.size()); ++page) {
    if (owner.pages[page].state == State::kResident) evict_page(owner, page);
  }
  owner.coldest.clear();
}

// The caller has taken the page from the entry's `coldest`.
void ExpertCache::evict_page(Entry& owner, int page) {
  Page& evicted = owner.pages[page];
  bury_soon();
  dead_.blocks.push_back(std::move(evicted.memory));
  owner.blocks[page] = nullptr;
  evicted.state = State::kAbsent;
  evicted.listed = false;
  evicted.heat = 0;
  owner.resident_pages -= 1;
  owner.resident_bytes -= owner.source->page_bytes(page);
  stats_.resident_bytes -= owner.source->page_bytes(page);
  stats_.resident_pages -= 1;
  stats_.evictions += 1;
  if (!owner.holds_memory()) std::erase(holders_, &owner);
}

void ExpertCache::evict_trunk(Entry& owner) {
  bury_soon();
  dead_.blocks.push_back(std::move(owner.trunk));
  owner.trunk_state = State::kAbsent;
  owner.trunk_load.reset();
  stats_.resident_bytes -= owner.source->trunk_bytes();
  stats_.resident_trunks -= 1;
  if (!owner.holds_memory()) std::erase(holders_, &owner);
}

void ExpertCache::forget_if_unused(Entry& gone) {
  if (!gone.removed || gone.pins > 0 || gone.holds > 0 || gone.loading > 0) return;
  evict_pages(gone);
  if (gone.trunk_state != State::kAbsent) evict_trunk(gone);
  bury_soon();
  const auto found = entries_.find(gone.adapter);
  dead_.entries.push_back(std::move(found->second));
  entries_.erase(found);
}

// Before something is added to the dead.
void ExpertCache::bury_soon() {
  if (dead_.blocks.empty() && dead_.entries.empty()) {
    loader_.push_expected([this] { bury(); });
  }
}

// On the loader's thread, also before it takes memory, so that what is not counted any more is not
// held any more either.
void ExpertCache::bury() {
  Graveyard dead;  // freed after the lock is
  const std::lock_guard lock(mutex_);
  std::swap(dead, dead_);
}

CacheStats ExpertCache::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace smore
