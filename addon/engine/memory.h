#pragma once

#include <cstdint>
#include <string>

namespace smore {

// Bytes that this process may still take: what the machine has available, what its control groups
// (a container's, a service's) leave, or what its own limits do, whichever is least. UINT64_MAX
// where the system does not tell.
uint64_t available_memory();

// What the limits of the control groups that the process is in leave, of either version. `root`:
// where the file system begins, "" but in tests.
uint64_t groups_available(const std::string& root);

}  // namespace smore
