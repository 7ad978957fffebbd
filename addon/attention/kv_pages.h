#pragma once

#include <cstdint>

namespace smore {

// KV pages that one sequence of `positions` takes.
int pages_of(int positions);

struct KvPlan {
  int pages = 0;
  int max_model_len = 0;  // positions of the longest sequence
};

// How many pages `budget` bytes hold, and how long a sequence may become. `asked_len` 0 = as long
// as the model was made for, as far as the pages go. Throws Error(kOutOfMemory) with the numbers
// when the pages do not hold one sequence of `asked_len`: such a server could accept a request and
// never finish it.
KvPlan plan_kv_pages(uint64_t budget, uint64_t page_bytes, int asked_len, int model_len);

}  // namespace smore
