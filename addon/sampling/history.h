#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace smore {

// The distinct tokens that a sequence has seen: what the penalties look at. Sorted by token, so
// that the work per step follows the length of the text and not the vocabulary.
class TokenHistory {
 public:
  struct Entry {
    int32_t token;
    int32_t sampled;  // how often it was sampled; 0 = only in the prompt
  };

  void clear() { entries_.clear(); }
  void add_prompt(int32_t token) { find(token); }
  void add_sampled(int32_t token) { ++find(token).sampled; }
  std::span<const Entry> entries() const { return entries_; }

 private:
  Entry& find(int32_t token);

  std::vector<Entry> entries_;
};

}  // namespace smore
