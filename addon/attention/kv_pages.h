#pragma once

#include <cstdint>

namespace smore {

// KV pages that one sequence of `positions` takes.
int pages_of(int positions);

// KV pages that `budget` bytes hold. Throws Error(kOutOfMemory) with the numbers when they do not
// hold one sequence of `max_model_len`: such a server could accept a request and never finish it.
int plan_kv_pages(uint64_t budget, uint64_t page_bytes, int max_model_len);

}  // namespace smore
