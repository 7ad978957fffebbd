#pragma once

#include <cstdint>
#include <span>
#include <utility>
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

// The CPU's way of Adapters::apply(). Rows of one adapter and linear make a work; large ones are
// cut, so that every thread has some. Where all experts of the step's adapters are in memory, one
// thread takes a work from its routing to its outputs: one fork-join for everything. Else all works
// are routed first, and computed once the experts that any of them chose have come: at least two.
// Owns the scratch memory; used by the engine's thread alone.
class ResidualStep final : public AdapterStep {
 public:
  ResidualStep(Backend& backend, ExpertCache& cache);

  void begin(const AdapterRows& rows) override;
  void end() override;
  std::vector<int> run(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                       const float* x, int x_width) override;
  AdapterTraffic take_traffic() override { return std::exchange(traffic_, {}); }
  LinearRouting routing_by_linear(const Adapter& adapter) const override {
    return adapter.routed().read();
  }

 private:
  // Keys [first, end) are pinned: their pages are at blocks_.
  struct Wave {
    size_t first;
    size_t end;
  };
  // Of one thread.
  struct Memory {
    Arena call;
    Arena work;
  };

  void list_works(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                  const float* x, int x_width);
  void add_group(const Work& shared, const AdapterRows::Group& group, int64_t rows_of_call);
  int rows_per_work(const Adapter& adapter, int64_t rows) const;
  void route_all();
  void count_uses();
  void list_pages();
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
  AdapterTraffic traffic_;

  // Of the step.
  std::vector<int> handles_;  // each once, as the groups come
  std::vector<ExpertCache::Resident> residents_;
  bool resident_ = false;      // all of them as a whole, and held
  std::vector<PageKey> used_;  // while held

  // Of the call.
  std::vector<Memory> memory_;
  std::vector<Work> works_;
  int turns_ = 1;              // most adapters of one row
  std::vector<int32_t> seen_;  // [pages of a linear]
  std::vector<PageKey> keys_;
  std::vector<const std::byte*> blocks_;
};

}  // namespace smore
