#include "sampling/history.h"

#include <algorithm>

namespace smore {

TokenHistory::Entry& TokenHistory::find(int32_t token) {
  const auto at = std::lower_bound(entries_.begin(), entries_.end(), token,
                                   [](const Entry& e, int32_t t) { return e.token < t; });
  if (at != entries_.end() && at->token == token) return *at;
  return *entries_.insert(at, Entry{token, 0});
}

}  // namespace smore
