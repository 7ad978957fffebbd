#include "core/thread_pool.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <new>
#include <thread>
#include <vector>

namespace smore {
namespace {

TEST_CASE("every chunk runs exactly once, job after job") {
  for (int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    for (int job = 0; job < 2000; ++job) {
      const int chunks = job % 37;
      std::vector<int> runs(chunks);
      pool.for_each(chunks, [&](int64_t chunk) { ++runs[chunk]; });
      CHECK(runs == std::vector<int>(chunks, 1));
    }
  }
}

TEST_CASE("threads that have gone to sleep take part again") {
  ThreadPool pool(3);
  for (int job = 0; job < 20; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::atomic<int> sum{0};
    pool.for_each(50, [&](int64_t chunk) { sum += static_cast<int>(chunk); });
    CHECK(sum == 1225);
  }
}

TEST_CASE("what a chunk throws on any thread is thrown to the caller, once all chunks are done") {
  for (int threads : {2, 4}) {
    ThreadPool pool(threads);
    const std::thread::id caller = std::this_thread::get_id();
    for (int job = 0; job < 500; ++job) {
      std::atomic<int> done{0};
      std::atomic<bool> stranger{false};
      CHECK_THROWS_AS(pool.for_each(16,
                                    [&](int64_t chunk) {
                                      // The caller waits until a worker has thrown as well.
                                      if (std::this_thread::get_id() != caller) stranger = true;
                                      while (!stranger) std::this_thread::yield();
                                      ++done;
                                      if (chunk % 3 == 0 || chunk == 15) throw std::bad_alloc();
                                    }),
                      std::bad_alloc);
      CHECK(done == 16);
      pool.for_each(16, [&](int64_t) { ++done; });
      CHECK(done == 32);
    }
  }
}

TEST_CASE("a job without workers throws to its caller too") {
  ThreadPool pool(1);
  CHECK_THROWS_AS(pool.for_each(2, [](int64_t) { throw std::bad_alloc(); }), std::bad_alloc);
}

TEST_CASE("an idle pool burns no processor time") {
  ThreadPool pool(3);
  pool.for_each(8, [](int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  const std::clock_t before = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC < 0.02);
}

}  // namespace
}  // namespace smore
