#pragma once

#include <memory>
#include <vector>

#include "backends/cuda/runtime.h"
#include "backends/cuda/trees_copies.h"
#include "backends/cuda/trees_plan.h"
#include "experts/cache.h"
#include "residual/adapter.h"

namespace smore::cuda {

// An adapter as the device's tier sees it. Its trunk there is the host's trunk and behind it what
// kernels ask of the adapter: the plans of its linears and where its pages are.
class DeviceAdapter final : public BlockSource {
 public:
  DeviceAdapter(std::shared_ptr<Adapter> adapter, ExpertCache& host, Copies& copies);

  const Adapter& adapter() const { return *adapter_; }
  int handle() const { return adapter_->handle(); }
  const std::shared_ptr<Tickets>& tickets() const { return tickets_; }

  // Linears of AdapterPlan::sites. Their `levels` are the host's.
  const LinearPlan& linear(int site) const { return linears_[site]; }
  // The same on the device, in a resident trunk.
  const LinearPlan* linear_on_device(const std::byte* trunk, int site) const;
  const std::byte** pages_on_device(const std::byte* trunk) const;

  // What the table of pages in the trunk holds: the pages that were there then. For the engine's
  // thread.
  struct Placed {
    const std::byte* trunk = nullptr;
    uint64_t arrivals = 0;
  };
  Placed placed;

  // Tokens of each expert: linear by linear, level by level.
  unsigned long long* counters() const {
    return reinterpret_cast<unsigned long long*>(counters_.get());
  }
  LinearRouting read_counters(const Stream& stream) const;

  size_t trunk_bytes() const override { return pages_at_ + pages_bytes(); }
  int pages() const override { return adapter_->pages(); }
  size_t page_bytes(int page) const override { return adapter_->page_bytes(page); }
  void load_trunk(std::byte* block) const override;
  void load_page(int page, std::byte* block) const override;

 private:
  size_t pages_bytes() const { return static_cast<size_t>(pages()) * sizeof(const std::byte*); }
  void plan_linear(const SitePlan& site);

  std::shared_ptr<Adapter> adapter_;
  ExpertCache& host_;
  Copies& copies_;
  const std::shared_ptr<Tickets> tickets_;
  std::vector<int> widths_;  // counters of each level
  int counters_of_linear_ = 0;
  size_t counters_bytes_ = 0;
  BlockMemory counters_;
  std::vector<LevelPlan> levels_;    // of all linears
  std::vector<int64_t> tables_;      // of all levels: RouterPlan::tables
  std::vector<size_t> first_level_;  // of each linear
  std::vector<size_t> first_table_;  // of each level
  std::vector<LinearPlan> linears_;
  size_t linears_at_ = 0;  // in the trunk on the device
  size_t levels_at_ = 0;
  size_t tables_at_ = 0;
  size_t pages_at_ = 0;
};

}  // namespace smore::cuda
