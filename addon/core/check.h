#pragma once

#include <cstdio>
#include <cstdlib>

// Guards an invariant of our own code. Faults of input throw smore::Error; reaching this one means
// the engine's state cannot be trusted, so the process ends.
#define SMORE_CHECK(condition, what)                                                              \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      std::fprintf(stderr, "smore: %s:%d: %s (%s). This is a bug, please report it.\n", __FILE__, \
                   __LINE__, what, #condition);                                                   \
      std::abort();                                                                               \
    }                                                                                             \
  } while (false)
