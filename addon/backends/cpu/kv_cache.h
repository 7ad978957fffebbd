#pragma once

#include "backends/backend.h"
#include "core/huge_pages.h"
#include "core/touch_ahead.h"

namespace smore {

// Pages one after the other; a page holds [layers, K] heads, each with its keys transposed,
// [d, kPageTokens], and its values, [kPageTokens, padded d]: scores and weighted sums both run
// along lanes. In bfloat16 what is multiplied at once lies side by side: keys are
// [d / 2, kPageTokens, 2] and values [kPageTokens / 2, padded d, 2].
class CpuKvCache final : public KvCache {
 public:
  CpuKvCache(int layers, const AttentionShape& shape, int pages, DType stored);

  int pages() const override { return pages_; }
  size_t page_bytes() const override { return page_bytes_; }

  // A step is about to use pages up to this one, and no higher. The scheduler takes low ones first.
  void reach(int page) { ahead_.used_until((page + size_t{1}) * page_bytes_); }

  int padded_dim() const { return padded_dim_; }
  uint8_t* keys(int page, int layer, int head) const {
    return data_.get() + page * page_bytes_ + (int64_t{layer} * kv_heads_ + head) * head_bytes_;
  }
  uint8_t* values(int page, int layer, int head) const {
    return keys(page, layer, head) + key_bytes_;
  }

 private:
  int pages_;
  int kv_heads_;
  int padded_dim_;    // head_dim rounded up to kPanel
  size_t key_bytes_;  // of one head
  size_t head_bytes_;
  size_t page_bytes_;
  std::shared_ptr<uint8_t> data_;
  TouchAhead ahead_;
};

}  // namespace smore
