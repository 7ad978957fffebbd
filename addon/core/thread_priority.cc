#include "core/thread_priority.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace smore {

namespace {

constexpr uint64_t kShortTurn = 100'000;  // ns; the shortest that Linux takes
constexpr int kNiceness = 5;              // a third of the weight of the process's other threads

// Of sched_setattr(2): the C library has the call since 2.41, and the system's header for it does
// not go with the library's own.
struct SchedulingAttributes {
  uint32_t size = sizeof(SchedulingAttributes);
  uint32_t policy = 0;
  uint64_t flags = 0;
  int32_t niceness = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // how long a turn is, in ns
  uint64_t deadline = 0;
  uint64_t period = 0;
};
constexpr uint64_t kResetOnFork = 1;

}  // namespace

void want_short_turns() {
  SchedulingAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0U) != 0) return;
  if (attributes.policy != SCHED_OTHER) return;  // somebody chose something else for it
  attributes.runtime = kShortTurn;
  attributes.flags |= kResetOnFork;
  ::syscall(SYS_sched_setattr, 0, &attributes, 0U);
}

void let_others_first() { static_cast<void>(!::nice(kNiceness)); }  // Linux has it by thread

}  // namespace smore
