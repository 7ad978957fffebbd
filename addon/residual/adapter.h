#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "experts/tier.h"
#include "residual/routing_counts.h"
#include "residual/weights.h"

namespace smore {

// A registered adapter: its plan, and how its tokens were routed.
class Adapter : public BlockSource {
 public:
  Adapter(int handle, AdapterPlan plan)
      : handle_(handle),
        plan_(std::move(plan)),
        routed_(static_cast<int>(plan_.sites.size()), level_widths(plan_)) {
    for (const SitePlan& site : plan_.sites) {
      for (const Level& level : site.mixture.levels) {
        most_pairs_ = std::max(most_pairs_, level.pairs);
      }
    }
  }

  int handle() const { return handle_; }
  const AdapterPlan& plan() const { return plan_; }

  // Chosen (node, child) pairs of a token, most over levels and linears.
  int64_t most_pairs() const { return most_pairs_; }

  // `site`: of plan(). From the engine's thread.
  void count(const SitePlan& site, int level, int expert, int tokens) {
    routed_.add(static_cast<int>(&site - plan_.sites.data()), level, expert, tokens);
  }
  const RoutingCounts& routed() const { return routed_; }
  std::vector<std::vector<uint64_t>> routing() const { return routed_.total(); }

  size_t trunk_bytes() const override { return plan_.trunk_bytes; }
  int pages() const override { return static_cast<int>(plan_.pages.size()); }
  size_t page_bytes(int page) const override { return plan_.page_level(page).page_bytes; }
  void load_trunk(std::byte* block) const override { smore::load_trunk(plan_, block); }
  void load_page(int page, std::byte* block) const override {
    smore::load_page(plan_, page, block);
  }

 private:
  // Experts per level, most over the sites.
  static std::vector<int> level_widths(const AdapterPlan& plan) {
    std::vector<int> widths;
    for (const SitePlan& site : plan.sites) {
      const auto& levels = site.mixture.levels;
      if (widths.size() < levels.size()) widths.resize(levels.size());
      for (size_t l = 0; l < levels.size(); ++l) widths[l] = std::max(widths[l], levels[l].experts);
    }
    return widths;
  }

  int handle_;
  AdapterPlan plan_;
  int64_t most_pairs_ = 1;
  RoutingCounts routed_;
};

}  // namespace smore
