#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/dense.h"
#include "experts/cache.h"
#include "residual/adapter.h"
#include "residual/adapters.h"
#include "residual/arena.h"
#include "residual/work.h"

namespace smore {

// Adds the deltas of one call of Adapters::apply(): routes all rows of all adapters level by level,
// gathers the experts that any row chose, loads what is missing, computes each expert for all its
// rows, and goes up the trees. Each stage is one fork-join over every adapter's share of it. Owns
// the scratch memory; used by the engine's thread alone.
class ResidualStep {
 public:
  ResidualStep(Backend& backend, ExpertCache& cache);

  // The adapter of each group must be acquired.
  std::vector<int> run(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                       const float* x, int x_width);

  // What the last call computed, until the next: for verification.
  std::span<const Work> works() const { return works_; }

 private:
  // A piece of a stage: rows or pairs [first, first + count), outputs [first_output, + outputs).
  struct Chunk {
    int work = 0;
    int first = 0;
    int count = 0;
    int first_output = 0;
    int outputs = 0;
    int page = 0;   // index into uses_
    int pages = 0;  // how many of uses_, in a sum
  };
  // An expert and its pairs.
  struct PageUse {
    int work = 0;
    int level = 0;
    int first = 0;
    int count = 0;
  };

  void begin(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
             const float* x, int x_width);
  void add_work(Adapter& adapter, const SitePlan& site, const std::byte* trunk,
                const std::vector<int32_t>& rows, const SiteOutput& output, const float* x);
  void project_all();
  void route_all();
  void list_experts();
  void compute_experts();
  void compute_pages(size_t first, size_t count);
  void add_sums(size_t first, size_t count);
  void propagate_all();
  void add_finals();
  int rows_per_block(const Work& work) const;

  template <class Fn>
  void for_each_chunk(Fn&& fn);

  ThreadPool& threads_;
  const DenseKernels& kernels_;
  ExpertCache& cache_;
  Arena memory_;                // of the call
  std::vector<Arena> scratch_;  // per thread, of a chunk
  std::vector<Work> works_;
  std::vector<Chunk> chunks_;
  std::vector<PageUse> uses_;  // beside keys_ and blocks_
  std::vector<PageKey> keys_;
  std::vector<const std::byte*> blocks_;
};

}  // namespace smore
