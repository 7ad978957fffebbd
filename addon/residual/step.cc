#include "residual/step.h"

#include <algorithm>
#include <atomic>

#include "core/check.h"
#include "engine/step.h"
#include "residual/propagate.h"
#include "residual/route.h"

namespace smore {
namespace {

// Rows of a work: whole tiles of the kernels, and few enough for their sums to stay in the cache.
constexpr int kRowTile = 8;
constexpr int kMostRows = 32;
// Deep trees have many nodes per row: fewer rows at a time bound the scratch memory.
constexpr int64_t kMostPairs = 4096;
constexpr int kFinalOutputs = 96;  // whole panels
constexpr size_t kAhead = 1024;    // bytes of each page

}  // namespace

ResidualStep::ResidualStep(Backend& backend, ExpertCache& cache)
    : threads_(backend.threads()),
      kernels_(dense_kernels(backend)),
      cache_(cache),
      scratch_(backend.threads().size()) {}

template <class Fn>
void ResidualStep::for_each(int64_t count, Fn&& fn) {
  std::atomic<int64_t> next{0};
  threads_.for_each(std::min<int64_t>(count, threads_.size()), [&](int64_t worker) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      scratch_[worker].reset();
      fn(i, scratch_[worker]);
    }
  });
}

std::vector<int> ResidualStep::run(int layer, std::span<const SiteOutput> outputs,
                                   const AdapterRows& rows, const float* x, int x_width) {
  begin(layer, outputs, rows, x, x_width);
  std::vector<int> failed;
  if (works_.empty()) return failed;
  route_all();
  for (const RouteProbe& probe : rows.probes) {
    if (has_bit(probe.layers, layer)) fill_probe(probe);
  }
  list_experts();
  compute_all();
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
  turns_ = 1;
  int64_t total = 0;
  for (const AdapterRows::Group& group : rows.groups) {
    total += static_cast<int64_t>(group.rows.size() * outputs.size());
    turns_ = std::max(turns_, group.turn + 1);
  }
  const auto end = rows.groups.end();
  for (auto first = rows.groups.begin(), last = first; first != end; first = last) {
    last =
        std::find_if(first, end, [&](const auto& group) { return group.handle != first->handle; });
    const ExpertCache::Resident resident = cache_.resident(first->handle);
    Work work;
    work.adapter = static_cast<Adapter*>(resident.source);
    work.trunk = resident.trunk;
    work.x = x;
    work.x_stride = x_width;
    for (const SiteOutput& output : outputs) {
      work.site = work.adapter->plan().find(layer, output.site);
      if (work.site == nullptr) continue;
      const Mixture& mixture = work.mixture();
      SMORE_CHECK(mixture.inputs == x_width, "x is as wide as the adapted linear's input");
      work.output = output;
      work.page_keys = memory_.take<int32_t>(work.site->pages);
      std::fill_n(work.page_keys, work.site->pages, -1);
      for (auto group = first; group != last; ++group) add_group(work, *group, total);
    }
  }
}

void ResidualStep::add_group(const Work& shared, const AdapterRows::Group& group,
                             int64_t rows_of_call) {
  Work work = shared;
  work.scale = group.scale;
  work.turn = group.turn;
  work.control = group.control;
  const int count = static_cast<int>(group.rows.size());
  const int most = rows_per_work(work.mixture(), rows_of_call);
  for (int row = 0; row < count; row += most) {
    add_work(work, group.rows.data() + row, std::min(most, count - row));
  }
}

int ResidualStep::rows_per_work(const Mixture& mixture, int64_t rows) const {
  const int64_t unit = int64_t{threads_.size()} * kRowTile;
  const int64_t share = (rows + unit - 1) / unit * kRowTile;
  const int64_t fitting = kMostPairs / mixture.levels[0].pairs;
  return static_cast<int>(std::clamp<int64_t>(std::min(share, fitting), 1, kMostRows));
}

void ResidualStep::add_work(const Work& shared, const int32_t* rows, int count) {
  const Mixture& mixture = shared.mixture();
  Work work = shared;
  work.rows = rows;
  work.count = count;
  work.levels = memory_.take<WorkLevel>(static_cast<int64_t>(mixture.levels.size()));
  for (size_t l = 0; l < mixture.levels.size(); ++l) {
    work.levels[l] = work.is_tree() ? begin_level(mixture.levels[l], count)
                                    : all_pairs(mixture.levels[l].experts, count);
  }
  if (work.is_tree()) {
    work.top = memory_.take<float>(int64_t{count} * mixture.root().width);
  } else if (work.turn > 0) {
    work.sum = memory_.take<float>(int64_t{count} * mixture.outputs);
    std::fill_n(work.sum, int64_t{count} * mixture.outputs, 0.0f);
  }
  works_.push_back(work);
}

WorkLevel ResidualStep::begin_level(const Level& level, int count) {
  const int64_t most_pairs = count * std::min<int64_t>(level.pairs, level.experts);
  WorkLevel result;
  result.ids = memory_.take<int32_t>(count * level.pairs);
  result.scores = memory_.take<float>(count * level.pairs);
  result.pair_of = memory_.take<int32_t>(int64_t{count} * level.experts);
  result.expert_start = memory_.take<int32_t>(level.experts + 1);
  result.pair_row = memory_.take<int32_t>(most_pairs);
  result.own = memory_.take<float>(most_pairs * level.width);
  return result;
}

// A sum has no router: every row has every expert.
WorkLevel ResidualStep::all_pairs(int experts, int count) {
  WorkLevel result;
  result.expert_start = memory_.take<int32_t>(experts + 1);
  result.pair_row = memory_.take<int32_t>(int64_t{experts} * count);
  for (int e = 0; e <= experts; ++e) result.expert_start[e] = e * count;
  for (int pair = 0; pair < experts * count; ++pair) result.pair_row[pair] = pair % count;
  return result;
}

void ResidualStep::route_all() {
  const bool routed =
      std::any_of(works_.begin(), works_.end(), [](const Work& work) { return work.is_tree(); });
  if (!routed) return;
  for_each(static_cast<int64_t>(works_.size()), [this](int64_t w, Arena& scratch) {
    if (works_[w].is_tree()) route(kernels_, works_[w], scratch);
  });
}

void ResidualStep::list_experts() {
  keys_.clear();
  for (Work& work : works_) list_pages(work);
  blocks_.resize(keys_.size());
}

void ResidualStep::list_pages(Work& work) {
  const auto& levels = work.mixture().levels;
  for (int l = 0; l < static_cast<int>(levels.size()); ++l) {
    const int32_t* start = work.levels[l].expert_start;
    const int first_page = work.slots().levels[l].first_page;
    for (int e = 0; e < levels[l].experts; ++e) {
      if (start[e] == start[e + 1]) continue;
      work.adapter->count(*work.site, l, e, start[e + 1] - start[e]);
      int32_t& key = work.page_keys[first_page + e - work.site->first_page];
      if (key >= 0) continue;
      key = static_cast<int32_t>(keys_.size());
      keys_.push_back({work.adapter->handle(), first_page + e});
    }
  }
}

// When the budget is short the experts come and go in waves; what they computed stays.
void ResidualStep::compute_all() {
  // With fewer works than threads the last product, the largest, is cut by outputs instead.
  const bool whole = static_cast<int>(works_.size()) >= threads_.size();
  for (Wave wave{0, 0}; wave.first < keys_.size(); wave.first = wave.end) {
    const std::span<const PageKey> wanted = std::span(keys_).subspan(wave.first);
    const size_t count = cache_.pin(wanted, std::span(blocks_).subspan(wave.first));
    wave.end = wave.first + count;
    for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Arena& scratch) {
      if (w + threads_.size() < static_cast<int64_t>(works_.size())) {
        fetch_ahead(works_[w + threads_.size()]);
      }
      compute(works_[w], wave, scratch);
      if (wave.end < keys_.size() || works_[w].failed || !works_[w].is_tree()) return;
      propagate(kernels_, works_[w], scratch);
      if (whole && works_[w].turn == 0) {
        add_final(kernels_, works_[w], 0, works_[w].mixture().outputs, scratch);
      }
    });
    cache_.unpin(wanted.first(count));
  }
  for (int turn = whole ? 1 : 0; turn < turns_; ++turn) add_finals(turn);
}

// Has the start of what a work will read on its way: the processor guesses the rest.
void ResidualStep::fetch_ahead(const Work& work) const {
  for (int page = 0; page < work.site->pages; ++page) {
    const int32_t key = work.page_keys[page];
    if (key >= 0) prefetch_weights(blocks_[key], kAhead);
  }
}

// The part of a work's experts that has come with this wave.
void ResidualStep::compute(Work& work, Wave wave, Arena& scratch) {
  const auto& levels = work.mixture().levels;
  const ExpertInput input = expert_input(kernels_, work, scratch);
  for (int l = 0; l < static_cast<int>(levels.size()); ++l) {
    const int32_t* start = work.levels[l].expert_start;
    const int32_t* keys =
        work.page_keys + work.slots().levels[l].first_page - work.site->first_page;
    for (int e = 0; e < levels[l].experts; ++e) {
      const auto key = static_cast<size_t>(keys[e]);
      if (start[e] == start[e + 1] || key < wave.first || key >= wave.end) continue;
      if (blocks_[key] == nullptr) work.failed = true;
      if (work.failed) return;
      if (work.is_tree()) {
        compute_own(kernels_, work, input, l, e, blocks_[key], scratch);
      } else {
        add_expert(kernels_, work, input, e, blocks_[key], scratch);
      }
    }
  }
}

// Adds what is ready to y. A row gets the deltas of its adapters in one order whatever else is in
// the step.
void ResidualStep::add_finals(int turn) {
  if (static_cast<int>(works_.size()) >= threads_.size()) {
    for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Arena& scratch) {
      if (works_[w].turn != turn || works_[w].failed) return;
      add_final(kernels_, works_[w], 0, works_[w].mixture().outputs, scratch);
    });
    return;
  }
  for (const Work& work : works_) {
    if (work.turn != turn || work.failed) continue;
    const int outputs = work.mixture().outputs;
    for_each((outputs + kFinalOutputs - 1) / kFinalOutputs, [&](int64_t i, Arena& scratch) {
      const int first = static_cast<int>(i) * kFinalOutputs;
      add_final(kernels_, work, first, std::min(kFinalOutputs, outputs - first), scratch);
    });
  }
}

void ResidualStep::fill_probe(const RouteProbe& probe) const {
  for (const Work& work : works_) {
    if (work.adapter->handle() != probe.handle || !work.is_tree()) continue;
    const int32_t* row = std::lower_bound(work.rows, work.rows + work.count, probe.row);
    if (row == work.rows + work.count || *row != probe.row) continue;
    int64_t at = 0;  // behind the linears before this one
    for (const SitePlan& site : work.adapter->plan().sites) {
      if (&site == work.site) break;
      if (has_bit(probe.layers, site.layer)) at += site.mixture.routes();
    }
    for (size_t l = 0; l < work.mixture().levels.size(); ++l) {
      const int64_t pairs = work.mixture().levels[l].pairs;
      const int64_t from = (row - work.rows) * pairs;
      std::copy_n(work.levels[l].ids + from, pairs, probe.experts + at);
      std::copy_n(work.levels[l].scores + from, pairs, probe.scores + at);
      at += pairs;
    }
  }
}

}  // namespace smore
