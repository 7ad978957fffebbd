#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/cuda/runtime.h"
#include "backends/cuda/trees_plan.h"
#include "experts/cache.h"
#include "residual/adapter.h"

namespace smore::cuda {

// The way from the host tier to the device's: copies on a stream of their own. Nobody waits for a
// page that was ordered ahead of what uses it: the kernels' stream does, by an event.
class Copies {
 public:
  Copies(int device, ExpertCache& host);
  ~Copies();

  // On the loader's thread of the device's tier. The block may be one that kernels before this
  // still read. Throws Error(kIo) when the page cannot be read.
  void copy_page(PageKey key, std::byte* to, size_t bytes);
  void copy_now(std::byte* to, const std::byte* from, size_t bytes);

  // Waits for all copies so far and lets their host pages go. Any thread. Whoever has had pages
  // loaded calls it, as the host tier cannot give up what is being copied.
  void settle();

  // On the engine's thread. What is put on the stream after the first comes after all copies so
  // far; what comes over memory that is freed after the second comes after what was on the stream.
  void begin_use(const Stream& stream);
  void end_use(const Stream& stream);

  // Memory of the device's tier. Any thread.
  BlockMemory take(size_t bytes);

  int device() const { return device_; }

 private:
  void order_after_use();
  void give_back(std::byte* block);

  const int device_;
  ExpertCache& host_;
  Stream stream_;
  DevicePool pool_;
  Event copied_;
  Event used_;
  std::atomic<uint64_t> copies_{0};
  uint64_t seen_copies_ = 0;  // by the engine's thread
  std::mutex settling_;       // one at a time: after settle() nothing from before it is held
  std::mutex mutex_;          // of held_
  std::vector<int> held_;     // adapters of the host tier, once for each copy under way
};

// An adapter as the device's tier sees it. Its trunk there is the host's trunk and behind it what
// kernels ask of the adapter: the plans of its linears and where its pages are.
class DeviceAdapter final : public BlockSource {
 public:
  DeviceAdapter(std::shared_ptr<Adapter> adapter, ExpertCache& host, Copies& copies);

  const Adapter& adapter() const { return *adapter_; }
  int handle() const { return adapter_->handle(); }

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
  unsigned long long* counters() const { return counters_.as<unsigned long long>(); }
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
  std::vector<int> widths_;  // counters of each level
  int counters_of_linear_ = 0;
  DeviceMemory counters_;
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
