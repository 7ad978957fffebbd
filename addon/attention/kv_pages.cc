#include "attention/kv_pages.h"

#include <algorithm>
#include <limits>
#include <string>

#include "backends/backend.h"
#include "core/error.h"
#include "core/memory_text.h"

namespace smore {

int pages_of(int positions) { return (positions + kPageTokens - 1) / kPageTokens; }

KvPlan plan_kv_pages(uint64_t budget, uint64_t page_bytes, int asked_len, int model_len) {
  // Page numbers are int32 on the border.
  const uint64_t fit = std::min<uint64_t>(budget / page_bytes, std::numeric_limits<int32_t>::max());
  const int needed = pages_of(asked_len == 0 ? 1 : asked_len);
  if (fit < static_cast<uint64_t>(needed)) {
    throw Error(ErrorCode::kOutOfMemory,
                "KV memory of " + memory_text(budget) + " holds " +
                    std::to_string(fit * kPageTokens) + " tokens, one sequence of " +
                    std::to_string(asked_len == 0 ? kPageTokens : asked_len) + " needs " +
                    memory_text(needed * page_bytes) +
                    ": raise --kv-memory or lower --max-model-len");
  }
  const int pages = static_cast<int>(fit);
  if (asked_len != 0) return {pages, asked_len};
  return {pages, static_cast<int>(std::min<int64_t>(model_len, int64_t{pages} * kPageTokens))};
}

}  // namespace smore
