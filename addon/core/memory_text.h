#pragma once

#include <cstdint>
#include <string>

namespace smore {

// "1.5 GiB", "96 MiB", "12 KiB": for messages, in the largest unit of which there is one.
std::string memory_text(uint64_t bytes);

}  // namespace smore
