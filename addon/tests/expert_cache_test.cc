#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "experts/cache.h"
#include "tests/refusal.h"

namespace smore {
namespace {

// An adapter of equal pages whose bytes tell which page they are; can be made slow or unreadable.
class FakeSource : public BlockSource {
 public:
  FakeSource(size_t trunk, int pages, size_t page) : trunk_(trunk), pages_(pages), page_(page) {}

  size_t trunk_bytes() const override { return trunk_; }
  int pages() const override { return pages_; }
  size_t page_bytes(int) const override { return page_; }
  void load_trunk(std::byte* block) const override {
    trunk_loads += 1;
    wait_and_maybe_fail(-1);
    std::memset(block, 7, trunk_);
  }
  void load_page(int page, std::byte* block) const override {
    page_loads += 1;
    wait_and_maybe_fail(page);
    std::memset(block, page, page_);
  }

  mutable std::atomic<int> trunk_loads{0};
  mutable std::atomic<int> page_loads{0};
  std::atomic<int> milliseconds{0};
  std::atomic<bool> broken{false};
  std::atomic<int> broken_page{-2};

 private:
  void wait_and_maybe_fail(int page) const {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    if (broken || page == broken_page) throw Error(ErrorCode::kIo, "fake: cannot be read");
  }

  size_t trunk_;
  int pages_;
  size_t page_;
};

std::shared_ptr<FakeSource> add(ExpertCache& cache, int adapter, size_t trunk = 100, int pages = 4,
                                size_t page = 10) {
  auto source = std::make_shared<FakeSource>(trunk, pages, page);
  cache.add(adapter, source, "adapter " + std::to_string(adapter));
  return source;
}

// Tells on which thread it went away.
class MortalSource : public FakeSource {
 public:
  explicit MortalSource(std::promise<std::thread::id>& gone)
      : FakeSource(100, 4, 10), gone_(gone) {}
  ~MortalSource() override { gone_.set_value(std::this_thread::get_id()); }

 private:
  std::promise<std::thread::id>& gone_;
};

// Pins the pages in as many waves as it takes; returns the number of waves.
int use(ExpertCache& cache, int adapter, const std::vector<int>& pages) {
  std::vector<PageKey> keys;
  for (int page : pages) keys.push_back({adapter, page});
  std::vector<const std::byte*> blocks(keys.size());
  int waves = 0;
  for (size_t first = 0; first < keys.size(); ++waves) {
    const std::span<const PageKey> rest = std::span(keys).subspan(first);
    const size_t count = cache.pin(rest, std::span(blocks).subspan(first));
    REQUIRE(count >= 1);
    for (size_t i = first; i < first + count; ++i) {
      REQUIRE(blocks[i] != nullptr);
      CHECK(static_cast<int>(blocks[i][9]) == keys[i].page);
    }
    CHECK(cache.stats().resident_bytes <= cache.budget());
    cache.unpin(rest.first(count));
    first += count;
  }
  return waves;
}

}  // namespace

TEST_CASE("an adapter that fits is resident as a whole once it is acquired") {
  ExpertCache cache({1000, 0});
  const auto source = add(cache, 1);
  CHECK(source->trunk_loads == 0);
  REQUIRE(cache.acquire(1));
  CHECK(cache.stats().resident_bytes == 140);
  CHECK(cache.stats().resident_pages == 4);
  CHECK(use(cache, 1, {0, 1, 2, 3, 0}) == 1);
  CHECK(cache.stats().hits == 5);
  CHECK(cache.stats().misses == 0);
  CHECK(cache.stats().load_bytes == 140);
  cache.release(1);
}

TEST_CASE("an adapter that is held outlasts its release and its removal, until it is let go") {
  ExpertCache cache({1000, 1});
  add(cache, 1);
  add(cache, 2);
  REQUIRE(cache.acquire(1));
  const int held = 1;
  ExpertCache::Resident resident;
  REQUIRE(cache.hold({&held, 1}, {&resident, 1}));
  cache.release(1);
  CHECK(!cache.acquire(2));  // one trunk is allowed, and it does not give way
  cache.remove(1);
  CHECK(cache.stats().resident_bytes == 140);
  for (int page = 0; page < 4; ++page) CHECK(static_cast<int>(resident.pages[page][9]) == page);
  cache.let_go({&held, 1}, {});
  CHECK(cache.stats().resident_bytes == 0);
  REQUIRE(cache.acquire(2));
  cache.release(2);
}

TEST_CASE("whoever releases or removes an adapter does not wait until its memory is given back") {
  std::promise<std::thread::id> gone;
  ExpertCache cache({1000, 0});
  cache.add(1, std::make_shared<MortalSource>(gone), "adapter 1");
  REQUIRE(cache.acquire(1));
  cache.remove(1);
  cache.release(1);
  CHECK(cache.stats().resident_bytes == 0);
  std::future<std::thread::id> thread = gone.get_future();
  REQUIRE(thread.wait_for(std::chrono::seconds(10)) == std::future_status::ready);
  CHECK(thread.get() != std::this_thread::get_id());
}

TEST_CASE("threads that acquire an adapter together load it once") {
  ExpertCache cache({1000, 0});
  const auto source = add(cache, 1);
  source->milliseconds = 5;
  std::vector<std::thread> threads;
  std::atomic<int> acquired{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { acquired += cache.acquire(1) ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(acquired == 8);
  CHECK(source->trunk_loads == 1);
  CHECK(source->page_loads == 4);
  for (int i = 0; i < 8; ++i) cache.release(1);
}

TEST_CASE("with a budget for the trunk and one page, pages come and go singly and stay right") {
  ExpertCache cache({110, 0});
  add(cache, 1);
  REQUIRE(cache.acquire(1));
  CHECK(use(cache, 1, {0, 1, 2, 3}) == 4);
  CHECK(use(cache, 1, {3, 2, 1, 0}) == 4);
  CHECK(cache.stats().resident_pages == 1);
  CHECK(cache.stats().evictions == cache.stats().loads - 1);
  CHECK(cache.stats().misses >= 6);
  cache.release(1);
}

TEST_CASE("pages that a step has pinned are never taken") {
  ExpertCache cache({130, 0});
  add(cache, 1);
  REQUIRE(cache.acquire(1));
  const std::vector<PageKey> first = {{1, 0}, {1, 1}};
  std::vector<const std::byte*> blocks(2);
  REQUIRE(cache.pin(first, blocks) == 2);
  for (int page : {2, 3, 2, 3}) use(cache, 1, {page});
  CHECK(static_cast<int>(blocks[0][0]) == 0);
  CHECK(static_cast<int>(blocks[1][0]) == 1);
  cache.unpin(first);
  cache.release(1);
}

TEST_CASE("adapters that are resident as a whole are held together, and nothing of them is taken") {
  ExpertCache cache({280, 0});
  add(cache, 1);
  add(cache, 2);
  REQUIRE(cache.acquire(1));
  REQUIRE(cache.acquire(2));
  const std::vector<int> both = {1, 2};
  std::vector<ExpertCache::Resident> residents(2);
  REQUIRE(cache.hold(both, residents));
  add(cache, 3, 20, 1);
  std::thread other([&] { CHECK(cache.acquire(3)); });  // waits: all that could give way is held
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  for (const ExpertCache::Resident& resident : residents) {
    CHECK(static_cast<int>(resident.trunk[99]) == 7);
    for (int page = 0; page < 4; ++page) {
      REQUIRE(resident.pages[page] != nullptr);
      CHECK(static_cast<int>(resident.pages[page][9]) == page);
    }
  }
  CHECK(cache.stats().resident_pages == 8);
  cache.let_go(both, std::vector<PageKey>{{1, 0}, {1, 2}, {2, 3}});
  other.join();
  CHECK(cache.stats().hits == 3);
  CHECK(cache.place(1).hits == 2);
  CHECK(cache.stats().evictions >= 2);
  CHECK_FALSE(cache.hold(both, residents));
  for (int adapter : {1, 2, 3}) cache.release(adapter);
}

TEST_CASE("who waits for memory gets it from steps that hold their adapters one after the other") {
  ExpertCache cache({140, 0});
  add(cache, 1);
  REQUIRE(cache.acquire(1));
  const std::vector<int> stepping = {1};
  std::vector<ExpertCache::Resident> residents(1);
  REQUIRE(cache.hold(stepping, residents));
  add(cache, 2, 20, 1);
  std::atomic<bool> acquired{false};
  std::thread other([&] {
    CHECK(cache.acquire(2));
    acquired = true;
  });
  while (!acquired) {
    cache.let_go(stepping, {});
    while (!cache.hold(stepping, residents) && !acquired) std::this_thread::yield();
  }
  other.join();
  CHECK(cache.stats().evictions >= 2);
  cache.release(1);
  cache.release(2);
}

TEST_CASE("who waits for memory comes before the step that would hold it next") {
  ExpertCache cache({170, 0});
  add(cache, 1);
  add(cache, 2, 20, 1);
  add(cache, 3, 50, 1);
  const std::vector<int> stepping = {1};
  std::vector<ExpertCache::Resident> residents(1);
  REQUIRE(cache.acquire(1));
  REQUIRE(cache.acquire(2));
  cache.release(2);
  REQUIRE(cache.hold(stepping, residents));
  std::thread other([&] { CHECK(cache.acquire(3)); });
  while (cache.stats().resident_trunks > 1) std::this_thread::yield();  // it has taken adapter 2's
  cache.let_go(stepping, {});
  CHECK_FALSE(cache.hold(stepping, residents));
  other.join();
  cache.release(1);
  cache.release(3);
}

TEST_CASE("steps go on with whole adapters while another waits for memory that nobody can give") {
  ExpertCache cache({280, 0});
  add(cache, 1);
  add(cache, 2);
  REQUIRE(cache.acquire(1));
  REQUIRE(cache.acquire(2));
  const std::vector<int> both = {1, 2};
  const std::vector<int> stepping = {1};
  std::vector<ExpertCache::Resident> residents(2);
  REQUIRE(cache.hold(both, residents));
  add(cache, 3, 20, 1);
  std::atomic<bool> acquired{false};
  std::thread other([&] {
    CHECK(cache.acquire(3));
    acquired = true;
  });
  for (int step = 0; step < 20; ++step) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    REQUIRE(cache.hold(stepping, residents));
    cache.let_go(stepping, {});
  }
  CHECK_FALSE(acquired);
  cache.let_go(both, {});
  other.join();
  for (int adapter : {1, 2, 3}) cache.release(adapter);
}

TEST_CASE("of the pages of running adapters the least used goes first") {
  ExpertCache cache({130, 0});
  const auto source = add(cache, 1);
  REQUIRE(cache.acquire(1));
  for (int i = 0; i < 5; ++i) use(cache, 1, {0, 1});
  use(cache, 1, {2});
  use(cache, 1, {3});
  const int loads = source->page_loads;
  use(cache, 1, {0, 1});
  CHECK(source->page_loads == loads);
  cache.release(1);
}

TEST_CASE("idle adapters give way, the one used longest ago first, and running ones do not") {
  ExpertCache cache({300, 0});
  add(cache, 1);
  add(cache, 2);
  add(cache, 3);
  REQUIRE(cache.acquire(1));
  REQUIRE(cache.acquire(2));
  CHECK_FALSE(cache.acquire(3));
  cache.release(1);
  cache.release(2);
  REQUIRE(cache.acquire(3));
  CHECK(cache.stats().resident_trunks == 2);
  REQUIRE(cache.acquire(2));
  CHECK(use(cache, 2, {0, 1, 2, 3}) >= 1);
  CHECK(use(cache, 3, {0, 1, 2, 3}) >= 1);
  CHECK_FALSE(cache.acquire(1));
  cache.release(2);
  cache.release(3);
}

TEST_CASE("no more trunks are resident than allowed") {
  ExpertCache cache({10000, 2});
  for (int adapter : {1, 2, 3}) add(cache, adapter);
  REQUIRE(cache.acquire(1));
  REQUIRE(cache.acquire(2));
  CHECK_FALSE(cache.acquire(3));
  cache.release(1);
  REQUIRE(cache.acquire(3));
  CHECK(cache.stats().resident_trunks == 2);
  cache.release(2);
  cache.release(3);
}

TEST_CASE("an adapter that comes back gets its most used pages first") {
  ExpertCache cache({120, 0});
  add(cache, 1);
  add(cache, 2);
  REQUIRE(cache.acquire(1));
  for (int i = 0; i < 3; ++i) use(cache, 1, {3, 1});
  cache.release(1);
  REQUIRE(cache.acquire(2));
  CHECK(cache.stats().resident_trunks == 1);
  cache.release(2);
  REQUIRE(cache.acquire(1));
  const uint64_t misses = cache.stats().misses;
  use(cache, 1, {1, 3});
  CHECK(cache.stats().misses == misses);
  cache.release(1);
}

TEST_CASE("prefetch takes nothing from running adapters") {
  ExpertCache cache({240, 0});
  add(cache, 1);
  add(cache, 2);
  REQUIRE(cache.acquire(1));
  REQUIRE(cache.acquire(2));
  CHECK(cache.stats().resident_pages == 4);
  const uint64_t misses = cache.stats().misses;
  use(cache, 1, {0, 1, 2, 3});
  CHECK(cache.stats().misses == misses);
  use(cache, 2, {0});
  CHECK(cache.stats().misses == misses + 1);
  cache.release(1);
  cache.release(2);
}

TEST_CASE("an adapter that can never fit is refused with the numbers") {
  ExpertCache cache({105, 0});
  check_refused(ErrorCode::kOutOfMemory, "adapter 1: needs", [&] { add(cache, 1); });
}

TEST_CASE("a trunk that cannot be read fails everyone who waits for it, and may work later") {
  ExpertCache cache({1000, 0});
  const auto source = add(cache, 1);
  source->broken = true;
  source->milliseconds = 5;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      try {
        cache.acquire(1);
      } catch (const Error&) {
        failures += 1;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 4);
  CHECK(cache.stats().resident_bytes == 0);
  source->broken = false;
  REQUIRE(cache.acquire(1));
  cache.release(1);
}

TEST_CASE("a page that cannot be read is told as such while the others serve") {
  ExpertCache cache({1000, 0});
  const auto source = add(cache, 1);
  source->broken_page = 2;
  REQUIRE(cache.acquire(1));
  const std::vector<PageKey> keys = {{1, 0}, {1, 2}, {1, 3}};
  std::vector<const std::byte*> blocks(3);
  REQUIRE(cache.pin(keys, blocks) == 3);
  CHECK(blocks[0] != nullptr);
  CHECK(blocks[1] == nullptr);
  CHECK(blocks[2] != nullptr);
  cache.unpin(keys);
  CHECK(cache.place(1).fault == "fake: cannot be read");
  source->broken_page = -2;
  use(cache, 1, {2});
  cache.release(1);
}

TEST_CASE("an adapter's place tells what of it is in memory and how its pages were used") {
  ExpertCache cache({1000, 0});
  add(cache, 1);
  CHECK(!cache.place(1).resident);
  CHECK(cache.place(1).resident_bytes == 0);
  REQUIRE(cache.acquire(1));
  use(cache, 1, {0, 1, 1});
  const CachePlace place = cache.place(1);
  CHECK(place.resident);
  CHECK(place.resident_bytes == cache.stats().resident_bytes);
  CHECK(place.hits + place.misses == 3);
  check_refused(ErrorCode::kInvalidArgument, "is not loaded", [&] { cache.place(2); });
}

TEST_CASE("a removed adapter serves its pins to the end and leaves no byte") {
  ExpertCache cache({1000, 0});
  add(cache, 1);
  REQUIRE(cache.acquire(1));
  cache.remove(1);
  use(cache, 1, {0, 1});
  check_refused(ErrorCode::kInvalidArgument, "is not loaded", [&] { cache.acquire(1); });
  cache.release(1);
  CHECK(cache.stats().resident_bytes == 0);
  CHECK(cache.stats().resident_pages == 0);
}

TEST_CASE("steps go on while other threads acquire and release more adapters than fit") {
  ExpertCache cache({420, 3});
  for (int adapter = 1; adapter <= 8; ++adapter) add(cache, adapter);
  REQUIRE(cache.acquire(8));
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; !stop; ++i) {
        const int adapter = 1 + (i + 3 * thread) % 7;
        if (cache.acquire(adapter)) cache.release(adapter);
      }
    });
  }
  const std::vector<int> stepping = {8};
  std::vector<ExpertCache::Resident> residents(1);
  for (int i = 0; i < 300; ++i) {
    use(cache, 8, {i % 4, (i + 1) % 4, 3});
    if (!cache.hold(stepping, residents)) continue;
    for (int page = 0; page < 4; ++page) {
      CHECK(static_cast<int>(residents[0].pages[page][9]) == page);
    }
    cache.let_go(stepping, std::vector<PageKey>{{8, i % 4}});
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  cache.release(8);
  CHECK(cache.stats().resident_bytes <= 420);
}

}  // namespace smore
