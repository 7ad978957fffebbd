#include "residual/step.h"

#include <algorithm>
#include <atomic>
#include <optional>

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
  const bool resident = begin(layer, outputs, rows, x, x_width);
  std::vector<int> failed;
  if (resident) {
    compute_resident();
    list_experts();
    cache_.let_go(handles_, keys_);
  } else {
    route_all();
    list_experts();
    compute_in_waves();
  }
  for (const RouteProbe& probe : rows.probes) {
    if (has_bit(probe.layers, layer)) fill_probe(probe);
  }
  for (const Work& work : works_) {
    const int handle = work.adapter->handle();
    if (work.failed && std::find(failed.begin(), failed.end(), handle) == failed.end()) {
      failed.push_back(handle);
    }
  }
  return failed;
}

// Returns whether everything is resident, and held.
bool ResidualStep::begin(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                         const float* x, int x_width) {
  memory_.reset();
  works_.clear();
  handles_.clear();
  turns_ = 1;
  int64_t total = 0;
  for (const AdapterRows::Group& group : rows.groups) {
    total += static_cast<int64_t>(group.rows.size() * outputs.size());
    turns_ = std::max(turns_, group.turn + 1);
    if (handles_.empty() || handles_.back() != group.handle) handles_.push_back(group.handle);
  }
  residents_.resize(handles_.size());
  const bool resident = cache_.hold(handles_, residents_);
  auto group = rows.groups.begin();
  for (const ExpertCache::Resident& place : residents_) {
    Work work;
    work.adapter = static_cast<Adapter*>(place.source);
    work.trunk = place.trunk;
    work.x = x;
    work.x_stride = x_width;
    const int handle = group->handle;
    const auto end = std::find_if(group, rows.groups.end(),
                                  [&](const auto& other) { return other.handle != handle; });
    for (const SiteOutput& output : outputs) {
      work.site = work.adapter->plan().find(layer, output.site);
      if (work.site == nullptr) continue;
      SMORE_CHECK(work.mixture().inputs == x_width, "x is as wide as the adapted linear's input");
      work.output = output;
      if (resident) work.pages = place.pages + work.site->first_page;
      work.page_keys = memory_.take<int32_t>(work.site->pages);
      std::fill_n(work.page_keys, work.site->pages, -1);
      for (auto own = group; own != end; ++own) add_group(work, *own, total);
    }
    group = end;
  }
  return resident;
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

// With fewer works than threads the last product, the largest, is cut by outputs instead.
bool ResidualStep::splits_outputs() const {
  return static_cast<int>(works_.size()) < threads_.size();
}

void ResidualStep::compute_resident() {
  for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Arena& scratch) {
    Work& work = works_[w];
    if (work.is_tree()) route(kernels_, work, scratch);
    compute(
        work, [&](int page) { return std::optional(work.pages[page]); }, scratch);
    finish(work, scratch);
  });
  for (int turn = splits_outputs() ? 0 : 1; turn < turns_; ++turn) add_finals(turn);
}

// When the budget is short the experts come and go in waves; what they computed stays.
void ResidualStep::compute_in_waves() {
  for (Wave wave{0, 0}; wave.first < keys_.size(); wave.first = wave.end) {
    const std::span<const PageKey> wanted = std::span(keys_).subspan(wave.first);
    const size_t count = cache_.pin(wanted, std::span(blocks_).subspan(wave.first));
    wave.end = wave.first + count;
    for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Arena& scratch) {
      Work& work = works_[w];
      const auto find_page = [&](int page) -> std::optional<const std::byte*> {
        const auto key = static_cast<size_t>(work.page_keys[page]);
        if (key < wave.first || key >= wave.end) return std::nullopt;
        return blocks_[key];
      };
      compute(work, find_page, scratch);
      if (wave.end == keys_.size() && !work.failed) finish(work, scratch);
    });
    cache_.unpin(wanted.first(count));
  }
  for (int turn = splits_outputs() ? 0 : 1; turn < turns_; ++turn) add_finals(turn);
}

// The part of a work's experts that find_page(page of the site) knows: where they are, null when
// they could not be read.
template <class FindPage>
void ResidualStep::compute(Work& work, const FindPage& find_page, Arena& scratch) {
  if (work.failed) return;
  const auto& levels = work.mixture().levels;
  const ExpertInput input = expert_input(kernels_, work, scratch);
  for (int l = 0; l < static_cast<int>(levels.size()); ++l) {
    const int32_t* start = work.levels[l].expert_start;
    const int first = work.slots().levels[l].first_page - work.site->first_page;
    for (int e = 0; e < levels[l].experts; ++e) {
      if (start[e] == start[e + 1]) continue;
      const std::optional<const std::byte*> page = find_page(first + e);
      if (!page) continue;
      if (*page == nullptr) {
        work.failed = true;
        return;
      }
      if (work.is_tree()) {
        compute_own(kernels_, work, input, l, e, *page, scratch);
      } else {
        add_expert(kernels_, work, input, e, *page, scratch);
      }
    }
  }
}

// What is left once all experts are computed, as far as it waits for no other work.
void ResidualStep::finish(Work& work, Arena& scratch) {
  if (!work.is_tree()) return;
  propagate(kernels_, work, scratch);
  if (splits_outputs() || work.turn > 0) return;
  add_final(kernels_, work, 0, work.mixture().outputs, scratch);
}

// Adds what is ready to y. A row gets the deltas of its adapters in one order whatever else is in
// the step.
void ResidualStep::add_finals(int turn) {
  if (!splits_outputs()) {
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
