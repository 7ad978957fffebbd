#include "residual/step.h"

#include <algorithm>
#include <atomic>
#include <optional>

#include "core/check.h"
#include "engine/step.h"
#include "residual/cost.h"
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

WorkLevel begin_level(const Level& level, int count, Arena& memory) {
  const int64_t most_pairs = count * std::min<int64_t>(level.pairs, level.experts);
  WorkLevel result;
  result.ids = memory.take<int32_t>(count * level.pairs);
  result.scores = memory.take<float>(count * level.pairs);
  result.pair_of = memory.take<int32_t>(int64_t{count} * level.experts);
  result.expert_start = memory.take<int32_t>(level.experts + 1);
  result.pair_row = memory.take<int32_t>(most_pairs);
  result.own = memory.take<float>(most_pairs * level.width);
  return result;
}

// A sum has no router: every row has every expert.
WorkLevel all_pairs(int experts, int count, Arena& memory) {
  WorkLevel result;
  result.expert_start = memory.take<int32_t>(experts + 1);
  result.pair_row = memory.take<int32_t>(int64_t{experts} * count);
  for (int e = 0; e <= experts; ++e) result.expert_start[e] = e * count;
  for (int pair = 0; pair < experts * count; ++pair) result.pair_row[pair] = pair % count;
  return result;
}

// Where a work keeps what it computes until the end of the call.
void take_room(Work& work, Arena& memory) {
  const Mixture& mixture = work.mixture();
  SMORE_CHECK(mixture.inputs == work.x_stride, "x is as wide as the adapted linear's input");
  work.levels = memory.take<WorkLevel>(static_cast<int64_t>(mixture.levels.size()));
  for (size_t l = 0; l < mixture.levels.size(); ++l) {
    work.levels[l] = work.is_tree() ? begin_level(mixture.levels[l], work.count, memory)
                                    : all_pairs(mixture.levels[l].experts, work.count, memory);
  }
  if (work.is_tree()) {
    work.top = memory.take<float>(int64_t{work.count} * mixture.root().width);
  } else if (work.turn > 0) {
    work.sum = memory.take<float>(int64_t{work.count} * mixture.outputs);
    std::fill_n(work.sum, int64_t{work.count} * mixture.outputs, 0.0f);
  }
}

// Calls fn(level, expert, page of the linear, tokens) for what the rows of a work chose.
template <class Fn>
void for_each_chosen(const Work& work, Fn&& fn) {
  const auto& levels = work.mixture().levels;
  for (int l = 0; l < static_cast<int>(levels.size()); ++l) {
    const int32_t* start = work.levels[l].expert_start;
    const int first = work.slots().levels[l].first_page - work.site->first_page;
    for (int e = 0; e < levels[l].experts; ++e) {
      if (start[e] < start[e + 1]) fn(l, e, first + e, start[e + 1] - start[e]);
    }
  }
}

}  // namespace

ResidualStep::ResidualStep(Backend& backend, ExpertCache& cache)
    : threads_(backend.threads()),
      kernels_(dense_kernels(backend)),
      cache_(cache),
      memory_(backend.threads().size()) {}

template <class Fn>
void ResidualStep::for_each(int64_t count, Fn&& fn) {
  std::atomic<int64_t> next{0};
  threads_.for_each(std::min<int64_t>(count, threads_.size()), [&](int64_t worker) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      memory_[worker].work.reset();
      fn(i, memory_[worker]);
    }
  });
}

void ResidualStep::begin(const AdapterRows& rows) {
  handles_.clear();
  for (const AdapterRows::Group& group : rows.groups) {
    if (handles_.empty() || handles_.back() != group.handle) handles_.push_back(group.handle);
  }
  residents_.resize(handles_.size());
  resident_ = cache_.hold(handles_, residents_);
}

void ResidualStep::end() {
  if (resident_) cache_.let_go(handles_, used_);
  resident_ = false;
  handles_.clear();
  used_.clear();
}

std::vector<int> ResidualStep::run(int layer, std::span<const SiteOutput> outputs,
                                   const AdapterRows& rows, const float* x, int x_width) {
  list_works(layer, outputs, rows, x, x_width);
  std::vector<int> failed;
  if (works_.empty()) return failed;
  if (resident_) {
    compute_resident();
    count_uses();
  } else {
    route_all();
    count_uses();
    list_pages();
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

// Looks at nothing of an adapter but which linears it has: the rest comes from memory, for which
// the threads wait side by side.
void ResidualStep::list_works(int layer, std::span<const SiteOutput> outputs,
                              const AdapterRows& rows, const float* x, int x_width) {
  for (Memory& memory : memory_) memory.call.reset();
  works_.clear();
  turns_ = 1;
  int64_t total = 0;
  for (const AdapterRows::Group& group : rows.groups) {
    total += static_cast<int64_t>(group.rows.size() * outputs.size());
    turns_ = std::max(turns_, group.turn + 1);
  }
  Work work;
  work.x = x;
  work.x_stride = x_width;
  const auto end = rows.groups.end();
  for (auto first = rows.groups.begin(), last = first; first != end; first = last) {
    last =
        std::find_if(first, end, [&](const auto& group) { return group.handle != first->handle; });
    while (work.member < handles_.size() && handles_[work.member] != first->handle) {
      work.member += 1;
    }
    SMORE_CHECK(work.member < handles_.size(), "a call's adapters are those of its step");
    const ExpertCache::Resident& place = residents_[work.member];
    work.adapter = static_cast<Adapter*>(place.source);
    work.trunk = place.trunk;
    work.pages = resident_ ? place.pages : nullptr;
    for (const SiteOutput& output : outputs) {
      work.site = work.adapter->plan().find(layer, output.site);
      if (work.site == nullptr) continue;
      work.output = output;
      for (auto group = first; group != last; ++group) add_group(work, *group, total);
    }
  }
}

void ResidualStep::add_group(const Work& shared, const AdapterRows::Group& group,
                             int64_t rows_of_call) {
  const int count = static_cast<int>(group.rows.size());
  const int most = rows_per_work(*shared.adapter, rows_of_call);
  for (int row = 0; row < count; row += most) {
    Work& work = works_.emplace_back(shared);
    work.scale = group.scale;
    work.turn = group.turn;
    work.control = group.control;
    work.rows = group.rows.data() + row;
    work.count = std::min(most, count - row);
  }
}

int ResidualStep::rows_per_work(const Adapter& adapter, int64_t rows) const {
  const int64_t unit = int64_t{threads_.size()} * kRowTile;
  const int64_t share = (rows + unit - 1) / unit * kRowTile;
  const int64_t fitting = kMostPairs / adapter.most_pairs();
  return static_cast<int>(std::clamp<int64_t>(std::min(share, fitting), 1, kMostRows));
}

void ResidualStep::route_all() {
  for_each(static_cast<int64_t>(works_.size()), [this](int64_t w, Memory& memory) {
    take_room(works_[w], memory.call);
    if (works_[w].is_tree()) route(kernels_, works_[w], memory.work);
  });
}

// Counts who was routed where, and what the call reads. A page of several works counts once.
void ResidualStep::count_uses() {
  const SitePlan* site = nullptr;
  for (const Work& work : works_) {
    if (work.site != site) {
      site = work.site;
      seen_.assign(site->pages, 0);
      traffic_.bytes += static_cast<double>(site->trunk_bytes);
    }
    const Mixture& mixture = site->mixture;
    traffic_.bytes += 4.0 * work.count * (mixture.inputs + 2 * mixture.outputs);
    traffic_.operations += work.count * row_operations(*site);
    for_each_chosen(work, [&](int l, int e, int page, int tokens) {
      work.adapter->count(*site, l, e, tokens);
      traffic_.operations += tokens * pair_operations(*site, l);
      if (seen_[page] != 0) return;
      seen_[page] = 1;
      traffic_.bytes += static_cast<double>(work.adapter->page_bytes(site->first_page + page));
      if (resident_) used_.push_back({handles_[work.member], site->first_page + page});
    });
  }
}

void ResidualStep::list_pages() {
  keys_.clear();
  const SitePlan* site = nullptr;
  int32_t* page_keys = nullptr;
  for (Work& work : works_) {
    if (work.site != site) {
      site = work.site;
      page_keys = memory_[0].call.take<int32_t>(site->pages);
      std::fill_n(page_keys, site->pages, -1);
    }
    work.page_keys = page_keys;
    for_each_chosen(work, [&](int, int, int page, int) {
      if (page_keys[page] >= 0) return;
      page_keys[page] = static_cast<int32_t>(keys_.size());
      keys_.push_back({work.adapter->handle(), site->first_page + page});
    });
  }
  blocks_.resize(keys_.size());
}

// With fewer works than threads the last product, the largest, is cut by outputs instead.
bool ResidualStep::splits_outputs() const {
  return static_cast<int>(works_.size()) < threads_.size();
}

void ResidualStep::compute_resident() {
  for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Memory& memory) {
    Work& work = works_[w];
    take_room(work, memory.call);
    if (work.is_tree()) route(kernels_, work, memory.work);
    const std::byte* const* pages = work.pages + work.site->first_page;
    compute(
        work, [&](int page) { return std::optional(pages[page]); }, memory.work);
    finish(work, memory.work);
  });
  for (int turn = splits_outputs() ? 0 : 1; turn < turns_; ++turn) add_finals(turn);
}

// When the budget is short the experts come and go in waves; what they computed stays.
void ResidualStep::compute_in_waves() {
  for (Wave wave{0, 0}; wave.first < keys_.size(); wave.first = wave.end) {
    const std::span<const PageKey> wanted = std::span(keys_).subspan(wave.first);
    const size_t count = cache_.pin(wanted, std::span(blocks_).subspan(wave.first));
    wave.end = wave.first + count;
    for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Memory& memory) {
      Work& work = works_[w];
      const auto find_page = [&](int page) -> std::optional<const std::byte*> {
        const auto key = static_cast<size_t>(work.page_keys[page]);
        if (key < wave.first || key >= wave.end) return std::nullopt;
        return blocks_[key];
      };
      compute(work, find_page, memory.work);
      if (wave.end == keys_.size() && !work.failed) finish(work, memory.work);
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
  const InputRows input = expert_input(kernels_, work, scratch);
  for_each_chosen(work, [&](int l, int e, int page, int) {
    const std::optional<const std::byte*> found = find_page(page);
    if (!found || work.failed) return;
    if (*found == nullptr) {
      work.failed = true;
    } else if (work.is_tree()) {
      compute_own(kernels_, work, input, l, e, *found, scratch);
    } else {
      add_expert(kernels_, work, input, e, *found, scratch);
    }
  });
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
    for_each(static_cast<int64_t>(works_.size()), [&](int64_t w, Memory& memory) {
      if (works_[w].turn != turn || works_[w].failed) return;
      add_final(kernels_, works_[w], 0, works_[w].mixture().outputs, memory.work);
    });
    return;
  }
  for (const Work& work : works_) {
    if (work.turn != turn || work.failed) continue;
    const int outputs = work.mixture().outputs;
    for_each((outputs + kFinalOutputs - 1) / kFinalOutputs, [&](int64_t i, Memory& memory) {
      const int first = static_cast<int>(i) * kFinalOutputs;
      add_final(kernels_, work, first, std::min(kFinalOutputs, outputs - first), memory.work);
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
