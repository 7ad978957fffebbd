#pragma once

namespace smore {

// Where more threads want a processor than there are, the system lets each compute for some
// milliseconds before another one gets its turn: longer than everything that the thread of the
// event loop does between two steps. Both calls are hints that the system may not take; neither
// takes a right, and neither gives the process more of the machine than others.

// The calling thread computes briefly and seldom, and wants its turn soon (Linux 6.12 or later).
// The threads that it starts do not.
void want_short_turns();

// The calling thread, and those that it starts from now on, let the others of the process go first.
void let_others_first();

}  // namespace smore
