#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/dense.h"
#include "experts/cache.h"
#include "residual/adapter.h"
#include "residual/adapter_step.h"
#include "residual/adapters.h"
#include "residual/arena.h"
#include "residual/work.h"

namespace smore {

// The CPU's way of Adapters::apply(). Rows of one adapter and linear make a work;
// large ones are cut, so that every thread has some. Where all experts are in memory, one thread
// takes a work from its routing to its outputs: one fork-join for everything. Else all works are
// routed first, and computed once the experts that any of them chose have come: at least two. Owns
// the scratch memory; used by the engine's thread alone.
class ResidualStep final : public AdapterStep {
 public:
  ResidualStep(Backend& backend, ExpertCache& cache);

  std::vector<int> run(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                       const float* x, int x_width) override;
  LinearRouting routing_by_linear(const Adapter& adapter) const override {
    return adapter.routed().read();
  }

 private:
  // Keys [first, end) are pinned: their pages are at blocks_.
  struct Wave {
    size_t first;
    size_t end;
  };

  bool begin(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
             const float* x, int x_width);
  void add_group(const Work& shared, const AdapterRows::Group& group, int64_t rows_of_call);
  int rows_per_work(const Mixture& mixture, int64_t rows) const;
  void add_work(const Work& shared, const int32_t* rows, int count);
  WorkLevel begin_level(const Level& level, int count);
  WorkLevel all_pairs(int experts, int count);
  void route_all();
  void list_experts();
  void list_pages(Work& work);
  void compute_resident();
  void compute_in_waves();
  template <class FindPage>
  void compute(Work& work, const FindPage& find_page, Arena& scratch);
  void finish(Work& work, Arena& scratch);
  bool splits_outputs() const;
  void add_finals(int turn);
  void fill_probe(const RouteProbe& probe) const;

  template <class Fn>
  void for_each(int64_t count, Fn&& fn);

  ThreadPool& threads_;
  const DenseKernels& kernels_;
  ExpertCache& cache_;
  Arena memory_;                // of the call
  std::vector<Arena> scratch_;  // per thread, of a work
  std::vector<int> handles_;    // of the call, each once
  std::vector<ExpertCache::Resident> residents_;
  std::vector<Work> works_;
  int turns_ = 1;  // of the call: most adapters of one row
  std::vector<PageKey> keys_;
  std::vector<const std::byte*> blocks_;
};

}  // namespace smore
