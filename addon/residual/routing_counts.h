#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace smore {

// Tokens routed to each expert: [linear][level][expert], levels from leaf to root.
using LinearRouting = std::vector<std::vector<std::vector<uint64_t>>>;

// Counts the tokens that go to each expert of an adapter. Takes no memory before the first one: a
// server knows more adapters than are ever used.
class RoutingCounts {
 public:
  // `widths`: experts per level, most over the linears.
  RoutingCounts(int linears, std::vector<int> widths)
      : linears_(linears), widths_(std::move(widths)) {
    for (int width : widths_) {
      offsets_.push_back(stride_);
      stride_ += width;
    }
  }

  // From one thread alone.
  void add(int linear, int level, int expert, int tokens) {
    if (owned_ == nullptr) {
      owned_ = std::make_unique<std::atomic<uint64_t>[]>(linears_ * stride_);
      counts_.store(owned_.get(), std::memory_order_release);
    }
    // Nobody else writes: no exchange, which would wait for memory that is far away.
    std::atomic<uint64_t>& count = owned_[linear * stride_ + offsets_[level] + expert];
    count.store(count.load(std::memory_order_relaxed) + tokens, std::memory_order_relaxed);
  }

  // Any thread.
  LinearRouting read() const {
    LinearRouting result(linears_);
    const std::atomic<uint64_t>* counts = counts_.load(std::memory_order_acquire);
    for (int linear = 0; linear < linears_; ++linear) {
      for (int width : widths_) {
        std::vector<uint64_t>& level = result[linear].emplace_back(width);
        if (counts == nullptr) continue;
        for (uint64_t& tokens : level) tokens = (counts++)->load(std::memory_order_relaxed);
      }
    }
    return result;
  }

  // The same over all linears: [level][expert].
  std::vector<std::vector<uint64_t>> total() const {
    std::vector<std::vector<uint64_t>> sums;
    for (int width : widths_) sums.emplace_back(width);
    for (const auto& levels : read()) {
      for (size_t l = 0; l < levels.size(); ++l) {
        for (size_t e = 0; e < levels[l].size(); ++e) sums[l][e] += levels[l][e];
      }
    }
    return sums;
  }

 private:
  int linears_;
  std::vector<int> widths_;
  std::vector<int> offsets_;  // of each level in a linear's counts
  int stride_ = 0;            // counts of a linear
  std::unique_ptr<std::atomic<uint64_t>[]> owned_;
  std::atomic<std::atomic<uint64_t>*> counts_{nullptr};  // owned_, for the threads that read
};

}  // namespace smore
