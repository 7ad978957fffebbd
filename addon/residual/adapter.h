#pragma once

#include <atomic>
#include <vector>

#include "experts/tier.h"
#include "residual/weights.h"

namespace smore {

// A registered adapter: its plan, and how its tokens were routed.
class Adapter : public BlockSource {
 public:
  Adapter(int handle, AdapterPlan plan) : handle_(handle), plan_(std::move(plan)) {
    for (const SitePlan& site : plan_.sites) {
      const auto& levels = site.mixture.levels;
      if (widths_.size() < levels.size()) widths_.resize(levels.size());
      for (size_t l = 0; l < levels.size(); ++l)
        widths_[l] = std::max(widths_[l], levels[l].experts);
    }
    for (int width : widths_) routed_.emplace_back(width);
  }

  int handle() const { return handle_; }
  const AdapterPlan& plan() const { return plan_; }

  void count(int level, int expert, int tokens) {
    routed_[level][expert].fetch_add(tokens, std::memory_order_relaxed);
  }
  std::vector<std::vector<uint64_t>> routing() const {
    std::vector<std::vector<uint64_t>> result;
    for (const auto& level : routed_) result.emplace_back(level.begin(), level.end());
    return result;
  }

  size_t trunk_bytes() const override { return plan_.trunk_bytes; }
  int pages() const override { return static_cast<int>(plan_.pages.size()); }
  size_t page_bytes(int page) const override { return plan_.page_level(page).page_bytes; }
  void load_trunk(std::byte* block) const override { smore::load_trunk(plan_, block); }
  void load_page(int page, std::byte* block) const override {
    smore::load_page(plan_, page, block);
  }

 private:
  int handle_;
  AdapterPlan plan_;
  std::vector<int> widths_;  // experts per level, most over the sites
  std::vector<std::vector<std::atomic<uint64_t>>> routed_;  // [level][expert]
};

}  // namespace smore
