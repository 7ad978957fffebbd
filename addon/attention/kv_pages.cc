#include "attention/kv_pages.h"

#include <algorithm>
#include <limits>
#include <string>

#include "backends/backend.h"
#include "core/error.h"
#include "engine/memory.h"

namespace smore {

int pages_of(int positions) { return (positions + kPageTokens - 1) / kPageTokens; }

int plan_kv_pages(uint64_t budget, uint64_t page_bytes, int max_model_len) {
  const uint64_t pages = budget / page_bytes;
  const int needed = pages_of(max_model_len);
  if (pages < static_cast<uint64_t>(needed)) {
    throw Error(ErrorCode::kOutOfMemory,
                "KV memory of " + memory_text(budget) + " holds " +
                    std::to_string(pages * kPageTokens) + " tokens, one sequence of " +
                    std::to_string(max_model_len) + " needs " + memory_text(needed * page_bytes) +
                    ": raise --kv-memory or lower --max-model-len");
  }
  // Page numbers are int32 on the border.
  return static_cast<int>(std::min<uint64_t>(pages, std::numeric_limits<int32_t>::max()));
}

}  // namespace smore
