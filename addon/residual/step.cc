#include "residual/step.h"

#include <algorithm>
#include <atomic>

#include "core/check.h"
#include "residual/propagate.h"
#include "residual/route.h"

namespace smore {
namespace {

// Pieces that keep a thread busy for some microseconds and leave enough of them for all threads.
constexpr int kRows = 32;
constexpr int kProjectionRows = 8;
constexpr int kFinalOutputs = 96;  // whole panels
constexpr int kRowsPerTreeBlock = 16;
constexpr int64_t kPairsPerTreeBlock = 4096;

}  // namespace

ResidualStep::ResidualStep(Backend& backend, ExpertCache& cache)
    : threads_(backend.threads()),
      kernels_(dense_kernels(backend)),
      cache_(cache),
      scratch_(backend.threads().size()) {}

template <class Fn>
void ResidualStep::for_each_chunk(Fn&& fn) {
  const int64_t chunks = static_cast<int64_t>(chunks_.size());
  std::atomic<int64_t> next{0};
  threads_.for_each(std::min<int64_t>(chunks, threads_.size()), [&](int64_t worker) {
    for (int64_t i = next.fetch_add(1); i < chunks; i = next.fetch_add(1)) {
      Arena& scratch = scratch_[worker];
      scratch.reset();
      fn(chunks_[i], scratch);
    }
  });
}

std::vector<int> ResidualStep::run(int layer, std::span<const SiteOutput> outputs,
                                   const AdapterRows& rows, const float* x, int x_width) {
  begin(layer, outputs, rows, x, x_width);
  std::vector<int> failed;
  if (works_.empty()) return failed;
  project_all();
  route_all();
  list_experts();
  compute_experts();
  propagate_all();
  add_finals();
  for (const Work& work : works_) {
    const int handle = work.adapter->handle();
    if (work.failed && std::find(failed.begin(), failed.end(), handle) == failed.end()) {
      failed.push_back(handle);
    }
  }
  return failed;
}

void ResidualStep::begin(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                         const float* x, int x_width) {
  memory_.reset();
  works_.clear();
  for (const AdapterRows::Group& group : rows.groups) {
    if (group.rows.empty()) continue;
    const ExpertCache::Resident resident = cache_.resident(group.handle);
    Adapter& adapter = static_cast<Adapter&>(*resident.source);
    for (const SiteOutput& output : outputs) {
      const SitePlan* site = adapter.plan().find(layer, output.site);
      if (site == nullptr) continue;
      SMORE_CHECK(site->mixture.inputs == x_width, "x is as wide as the adapted linear's input");
      add_work(adapter, *site, resident.trunk, group.rows, output, x);
    }
  }
}

void ResidualStep::add_work(Adapter& adapter, const SitePlan& site, const std::byte* trunk,
                            const std::vector<int32_t>& rows, const SiteOutput& output,
                            const float* x) {
  const Mixture& mixture = site.mixture;
  Work work;
  work.adapter = &adapter;
  work.site = &site;
  work.trunk = trunk;
  work.rows = rows.data();
  work.count = static_cast<int>(rows.size());
  work.x = x;
  work.x_stride = mixture.inputs;
  work.output = output;
  work.levels = memory_.take<WorkLevel>(static_cast<int64_t>(mixture.levels.size()));
  for (size_t l = 0; l < mixture.levels.size(); ++l) {
    work.levels[l] = WorkLevel{};
    work.levels[l].ids = memory_.take<int32_t>(work.count * mixture.levels[l].pairs);
    work.levels[l].scores = memory_.take<float>(work.count * mixture.levels[l].pairs);
  }
  if (work.is_tree()) {
    work.token = memory_.take<float>(int64_t{work.count} * mixture.projection);
    work.top = memory_.take<float>(int64_t{work.count} * mixture.root().width);
  }
  works_.push_back(work);
}

void ResidualStep::project_all() {
  chunks_.clear();
  for (int w = 0; w < static_cast<int>(works_.size()); ++w) {
    // Many rows are split by rows, which read the weights from the cache; few by outputs.
    const int u = works_[w].mixture().projection;
    const bool many = works_[w].count >= kProjectionRows;
    const int rows = many ? kProjectionRows : works_[w].count;
    const int outputs = many ? kFinalOutputs : kDensePanel;
    for (int output = 0; output < u; output += outputs) {
      for (int row = 0; row < works_[w].count; row += rows) {
        chunks_.push_back({.work = w,
                           .first = row,
                           .count = std::min(rows, works_[w].count - row),
                           .first_output = output,
                           .outputs = std::min(outputs, u - output)});
      }
    }
  }
  for_each_chunk([this](const Chunk& chunk, Arena&) {
    project(kernels_, works_[chunk.work], chunk.first, chunk.count, chunk.first_output,
            chunk.outputs);
  });
}

// Deep trees have many nodes per row: fewer rows at a time bound the scratch memory.
int ResidualStep::rows_per_block(const Work& work) const {
  const int share = (work.count + threads_.size() - 1) / threads_.size();
  const int64_t most = kPairsPerTreeBlock / work.mixture().levels[0].pairs;
  return static_cast<int>(
      std::clamp<int64_t>(std::min<int64_t>(share, most), 1, kRowsPerTreeBlock));
}

void ResidualStep::route_all() {
  chunks_.clear();
  for (int w = 0; w < static_cast<int>(works_.size()); ++w) {
    const int block = rows_per_block(works_[w]);
    for (int row = 0; row < works_[w].count; row += block) {
      chunks_.push_back({.work = w, .first = row, .count = std::min(block, works_[w].count - row)});
    }
  }
  for_each_chunk([this](const Chunk& chunk, Arena& scratch) {
    route(kernels_, works_[chunk.work], chunk.first, chunk.count, scratch);
  });
}

void ResidualStep::list_experts() {
  uses_.clear();
  keys_.clear();
  for (int w = 0; w < static_cast<int>(works_.size()); ++w) {
    Work& work = works_[w];
    gather_pairs(work, memory_);
    for (int l = 0; l < static_cast<int>(work.mixture().levels.size()); ++l) {
      const WorkLevel& level = work.levels[l];
      for (int e = 0; e < work.mixture().levels[l].experts; ++e) {
        const int first = level.expert_start[e];
        const int count = level.expert_start[e + 1] - first;
        if (count == 0) continue;
        uses_.push_back({w, l, first, count});
        keys_.push_back({work.adapter->handle(), work.slots().levels[l].first_page + e});
        work.adapter->count(l, e, count);
      }
    }
  }
  blocks_.resize(keys_.size());
}

// When the budget is short the experts come and go in waves; what they computed stays.
void ResidualStep::compute_experts() {
  for (size_t first = 0; first < keys_.size();) {
    const std::span<const PageKey> wanted = std::span(keys_).subspan(first);
    const size_t count = cache_.pin(wanted, std::span(blocks_).subspan(first));
    compute_pages(first, count);
    add_sums(first, count);
    cache_.unpin(wanted.first(count));
    first += count;
  }
}

void ResidualStep::compute_pages(size_t first, size_t count) {
  chunks_.clear();
  for (size_t i = first; i < first + count; ++i) {
    const PageUse& use = uses_[i];
    if (blocks_[i] == nullptr) {
      works_[use.work].failed = true;
      continue;
    }
    for (int pair = 0; pair < use.count; pair += kRows) {
      chunks_.push_back({.work = use.work,
                         .first = use.first + pair,
                         .count = std::min(kRows, use.count - pair),
                         .page = static_cast<int>(i)});
    }
  }
  for_each_chunk([this](const Chunk& chunk, Arena& scratch) {
    expert_pairs(kernels_, works_[chunk.work], uses_[chunk.page].level, blocks_[chunk.page],
                 chunk.first, chunk.count, scratch);
  });
}

void ResidualStep::add_sums(size_t first, size_t count) {
  chunks_.clear();
  for (size_t i = first; i < first + count;) {
    const int w = uses_[i].work;
    size_t end = i + 1;
    while (end < first + count && uses_[end].work == w) ++end;
    const Work& work = works_[w];
    for (int output = 0; !work.is_tree() && !work.failed && output < work.mixture().outputs;
         output += kFinalOutputs) {
      chunks_.push_back({.work = w,
                         .first_output = output,
                         .outputs = std::min(kFinalOutputs, work.mixture().outputs - output),
                         .page = static_cast<int>(i),
                         .pages = static_cast<int>(end - i)});
    }
    i = end;
  }
  for_each_chunk([this](const Chunk& chunk, Arena&) {
    for (int page = chunk.page; page < chunk.page + chunk.pages; ++page) {
      add_expert_output(kernels_, works_[chunk.work], blocks_[page], uses_[page].first,
                        uses_[page].count, chunk.first_output, chunk.outputs);
    }
  });
}

void ResidualStep::propagate_all() {
  chunks_.clear();
  for (int w = 0; w < static_cast<int>(works_.size()); ++w) {
    if (!works_[w].is_tree() || works_[w].failed) continue;
    const int block = rows_per_block(works_[w]);
    for (int row = 0; row < works_[w].count; row += block) {
      chunks_.push_back({.work = w, .first = row, .count = std::min(block, works_[w].count - row)});
    }
  }
  for_each_chunk([this](const Chunk& chunk, Arena& scratch) {
    propagate(kernels_, works_[chunk.work], chunk.first, chunk.count, scratch);
  });
}

void ResidualStep::add_finals() {
  chunks_.clear();
  for (int w = 0; w < static_cast<int>(works_.size()); ++w) {
    if (!works_[w].is_tree() || works_[w].failed) continue;
    const int outputs = works_[w].mixture().outputs;
    for (int output = 0; output < outputs; output += kFinalOutputs) {
      for (int row = 0; row < works_[w].count; row += kRows) {
        chunks_.push_back({.work = w,
                           .first = row,
                           .count = std::min(kRows, works_[w].count - row),
                           .first_output = output,
                           .outputs = std::min(kFinalOutputs, outputs - output)});
      }
    }
  }
  for_each_chunk([this](const Chunk& chunk, Arena&) {
    add_final(kernels_, works_[chunk.work], chunk.first, chunk.count, chunk.first_output,
              chunk.outputs);
  });
}

}  // namespace smore
