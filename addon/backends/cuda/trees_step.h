#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backends/cuda/runtime.h"
#include "backends/cuda/trees_adapter.h"
#include "backends/cuda/trees_routing.h"
#include "backends/cuda/trees_works.h"
#include "experts/cache.h"
#include "residual/adapter_step.h"

namespace smore::cuda {

// Memory of the host that the device copies from without help.
BlockMaker pinned_blocks(int device);

// A device's way of Adapters::apply(), and its tier of adapters. acquire() brings an adapter to the
// device, ahead of the steps that use it. Where all pages of a step's adapters are there the host
// only puts kernels on the stream: as many for any number of adapters. Else it reads which experts
// were chosen and has the missing ones brought, in waves where they do not fit beside each other.
class TreesStep final : public AdapterStep {
 public:
  // What it shares with the ops of its backend, on whose stream it computes.
  struct Shared {
    int device;
    const Stream& stream;
    Staging& staging;
    Scratch& scratch;
    size_t most_scratch;  // bytes that it may take of it
  };
  TreesStep(const Shared& shared, ExpertCache& host, uint64_t budget);
  ~TreesStep() override;

  void begin(const AdapterRows& rows) override;
  void end() override;
  bool waits() const override { return waits_; }
  std::vector<int> run(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                       const float* x, int x_width) override;
  void add(const std::shared_ptr<Adapter>& adapter, const std::string& name) override;
  bool acquire(int handle) override;
  void release(int handle) override;
  void remove(int handle) override;
  void stats(double* stats) const override;
  std::vector<std::vector<uint64_t>> routing(const Adapter& adapter) const override;
  LinearRouting routing_by_linear(const Adapter& adapter) const override;

 private:
  struct Call {
    int layer;
    std::span<const SiteOutput> outputs;
    const AdapterRows& rows;
    const float* x;
    int x_width;
  };

  std::shared_ptr<DeviceAdapter> find(int handle) const;
  void list_handles(const AdapterRows& rows);
  void compute(const Call& call);
  void list_works(const Call& call);
  void place_pages();
  void add_group(const Call& call, const AdapterRows::Group& group,
                 const ExpertCache::Resident& resident);
  void add_works(const HostWork& shared);
  size_t end_of_batch(size_t first) const;
  void lay_out_table(std::span<HostWork> works);
  void route_batch(const Call& call, std::span<HostWork> works);
  void compute_resident();
  void compute_in_waves(std::span<HostWork> works);
  void list_pages(std::span<HostWork> works);
  void bring_pages(size_t first, std::span<const std::byte* const> blocks);

  const int device_;
  const Stream& stream_;
  Staging& staging_;
  Scratch& scratch_;
  const int64_t most_scratch_;
  ExpertCache& host_;
  Copies copies_;
  ExpertCache tier_;
  Stream reader_;             // of counters
  mutable std::mutex mutex_;  // of adapters_
  std::map<int, std::shared_ptr<DeviceAdapter>> adapters_;

  // Of the step.
  std::vector<int> handles_;  // each once, as the groups come
  std::vector<ExpertCache::Resident> residents_;
  std::vector<std::shared_ptr<Tickets>> tickets_;  // likewise
  bool whole_ = false;                             // every page of its adapters is there, and held
  bool waits_ = false;

  // Of the call, reused.
  std::vector<HostWork> works_;
  WorkBatch batch_;
  std::vector<WorkLevelSlots> measured_;
  RoutingReads routing_;
  // Of the table in which kernels look for the pages of linears unless their adapters are whole.
  int table_places_ = 0;
  Upload table_upload_;
  Upload placed_upload_;       // of tables in trunks
  std::vector<PageKey> keys_;  // chosen by a batch
  std::vector<int> places_;    // in the table, of the keys
  std::vector<const std::byte*> blocks_;
  std::vector<int> failed_;
  std::atomic<uint64_t> found_{0};  // pages of linears whose adapters were whole
};

}  // namespace smore::cuda
