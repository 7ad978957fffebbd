#include "engine/step_watch.h"

#include <doctest/doctest.h>

#include <atomic>
#include <semaphore>

namespace smore {

TEST_CASE("a watch tells once each time that what it waits for has come, and not before") {
  constexpr int kTimes = 500;
  std::counting_semaphore<> come(0);
  std::counting_semaphore<> heard(0);
  std::atomic<int> told{0};
  StepWatch watch([&] { come.acquire(); }, [&] { told += 1, heard.release(); });
  CHECK(!watch.watching());
  for (int i = 0; i < kTimes; ++i) {
    watch.begin();
    CHECK(watch.watching());
    CHECK(told == i);
    come.release();
    if (i % 2 == 0) watch.join();  // it may not have told yet
    heard.acquire();
    CHECK(!watch.watching());
    CHECK(told == i + 1);
  }
}

TEST_CASE("a watch that goes waits for what it has begun to wait for") {
  int waited = 0;  // by the watch's thread
  {
    StepWatch watch([&] { waited += 1; }, [] {});
    watch.begin();
  }
  CHECK(waited == 1);
  {
    const StepWatch never_begun([&] { waited += 1; }, [] {});
  }
  CHECK(waited == 1);
}

}  // namespace smore
