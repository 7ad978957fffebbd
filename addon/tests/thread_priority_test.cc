#include "core/thread_priority.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <thread>

namespace smore {
namespace {

int niceness() { return ::getpriority(PRIO_PROCESS, 0); }

// The calling thread's turn in ns, as sched_getattr(2) tells it; 0 before Linux 6.12.
uint64_t turn() {
  std::array<uint64_t, 6> attributes{};
  CHECK(::syscall(SYS_sched_getattr, 0, attributes.data(), sizeof attributes, 0U) == 0);
  return attributes[3];
}

}  // namespace

TEST_CASE("a thread that lets others first does so with all that it starts, and alone") {
  const int before = niceness();
  int own = 0;
  int started = 0;
  std::thread([&] {
    let_others_first();
    own = niceness();
    std::thread([&] { started = niceness(); }).join();
  }).join();
  CHECK(own == std::min(before + 5, 19));
  CHECK(started == own);
  CHECK(niceness() == before);
}

TEST_CASE("a thread that wants short turns has them alone, at the priority that it had") {
  const uint64_t usual = turn();
  const int before = niceness();
  uint64_t own = 0;
  uint64_t started = 0;
  int own_niceness = 0;
  std::thread([&] {
    want_short_turns();
    own = turn();
    own_niceness = niceness();
    std::thread([&] { started = turn(); }).join();
  }).join();
  CHECK(own == (usual == 0 ? 0 : 100'000));
  CHECK(started == usual);
  CHECK(turn() == usual);
  CHECK(own_niceness == before);
}

}  // namespace smore
