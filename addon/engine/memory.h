#pragma once

#include <cstdint>

namespace smore {

// Bytes that this process may still take: what the machine has available or, in a container, what
// its memory limit leaves, whichever is less. UINT64_MAX where the system does not tell.
uint64_t available_memory();

}  // namespace smore
