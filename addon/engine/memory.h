#pragma once

#include <cstdint>
#include <string>

namespace smore {

// Bytes that this process may still take: what the machine has available or, in a container, what
// its memory limit leaves, whichever is less. UINT64_MAX where the system does not tell.
uint64_t available_memory();

// "1.5 GiB", "96 MiB": for messages.
std::string memory_text(uint64_t bytes);

}  // namespace smore
