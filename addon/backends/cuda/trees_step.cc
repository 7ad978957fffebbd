#include "backends/cuda/trees_step.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "engine/step.h"

namespace smore::cuda {
namespace {

bool is_placed(const ExpertCache::Resident& resident) {
  const auto& placed = static_cast<const DeviceAdapter*>(resident.source)->placed;
  return placed.trunk == resident.trunk && placed.arrivals == resident.arrivals;
}

BlockMaker both(std::function<BlockMemory(size_t)> take) { return {take, take}; }

}  // namespace

BlockMaker pinned_blocks(int device) {
  return both([device](size_t bytes) -> BlockMemory {
    use_device(device);
    auto memory = std::make_shared<PinnedMemory>(std::max<size_t>(bytes, 1));
    return {memory, memory->data()};
  });
}

TreesStep::TreesStep(const Shared& shared, ExpertCache& host, uint64_t budget)
    : device_(shared.device),
      stream_(shared.stream),
      staging_(shared.staging),
      scratch_(shared.scratch),
      most_scratch_(static_cast<int64_t>(shared.most_scratch)),
      host_(host),
      copies_(shared.device, host),
      tier_({.bytes = budget, .memory = "the device's memory for adapters (--gpu-adapter-memory)"},
            both([this](size_t bytes) { return copies_.take(bytes); })) {}

// What is still listed uses this.
TreesStep::~TreesStep() { stream_.drain(); }

void TreesStep::add(const std::shared_ptr<Adapter>& adapter, const std::string& name) {
  auto added = std::make_shared<DeviceAdapter>(adapter, host_, copies_);
  const std::vector<SitePlan>& sites = adapter->plan().sites;
  std::vector<WorkLevelSlots> levels;
  for (size_t i = 0; i < sites.size(); ++i) {
    HostWork row{.site = &sites[i], .linear = &added->linear(static_cast<int>(i)), .device = {}};
    measure(1, row, levels);
    if (row.bytes() <= most_scratch_) continue;
    throw Error(ErrorCode::kUnsupported, name + ": one row takes " + std::to_string(row.bytes()) +
                                             " bytes of the GPU's scratch memory, which has " +
                                             std::to_string(most_scratch_));
  }
  tier_.add(adapter->handle(), added, name);
  const std::lock_guard lock(mutex_);
  adapters_[adapter->handle()] = std::move(added);
}

bool TreesStep::acquire(int handle) {
  const std::shared_ptr<DeviceAdapter> adapter = find(handle);
  bool acquired = false;
  try {
    acquired = tier_.acquire(handle);
  } catch (...) {
    copies_.settle(*adapter->tickets());
    throw;
  }
  try {
    copies_.settle(*adapter->tickets());
  } catch (...) {
    if (acquired) tier_.release(handle);
    throw;
  }
  return acquired;
}

void TreesStep::release(int handle) { tier_.release(handle); }

void TreesStep::remove(int handle) {
  tier_.remove(handle);
  const std::lock_guard lock(mutex_);
  adapters_.erase(handle);
}

void TreesStep::stats(double* stats) const {
  const CacheStats tier = tier_.stats();
  stats[kStatDeviceHits] += static_cast<double>(tier.hits + found_);
  stats[kStatDeviceMisses] += static_cast<double>(tier.misses);
  stats[kStatDeviceLoads] += static_cast<double>(tier.loads);
  stats[kStatDeviceEvictions] += static_cast<double>(tier.evictions);
  stats[kStatDeviceLoadBytes] += static_cast<double>(tier.load_bytes);
  stats[kStatDeviceLoadSeconds] += tier.load_seconds;
  stats[kStatDeviceBytes] += static_cast<double>(tier.resident_bytes);
  stats[kStatDevicePages] += static_cast<double>(tier.resident_pages);
  stats[kStatDeviceAdapters] += static_cast<double>(tier.resident_trunks);
  stats[kStatDeviceBudgetBytes] += static_cast<double>(tier_.budget());
}

std::vector<std::vector<uint64_t>> TreesStep::routing(const Adapter& adapter) const {
  const LinearRouting linears = routing_by_linear(adapter);
  std::vector<std::vector<uint64_t>> sums = linears.front();
  for (size_t linear = 1; linear < linears.size(); ++linear) {
    for (size_t l = 0; l < sums.size(); ++l) {
      for (size_t e = 0; e < sums[l].size(); ++e) sums[l][e] += linears[linear][l][e];
    }
  }
  return sums;
}

LinearRouting TreesStep::routing_by_linear(const Adapter& adapter) const {
  const std::shared_ptr<DeviceAdapter> found = find(adapter.handle());
  use_device(device_);
  return found->read_counters(reader_);
}

std::shared_ptr<DeviceAdapter> TreesStep::find(int handle) const {
  const std::lock_guard lock(mutex_);
  const auto found = adapters_.find(handle);
  if (found == adapters_.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "adapter " + std::to_string(handle) + " is not loaded");
  }
  return found->second;
}

void TreesStep::list_handles(const AdapterRows& rows) {
  handles_.clear();
  for (const AdapterRows::Group& group : rows.groups) {
    if (handles_.empty() || handles_.back() != group.handle) handles_.push_back(group.handle);
  }
  residents_.resize(handles_.size());
}

void TreesStep::begin(const AdapterRows& rows) {
  use_device(device_);
  list_handles(rows);
  whole_ = tier_.hold(handles_, residents_);
  waits_ = !whole_ || !rows.probes.empty();
  tickets_.clear();
  for (const ExpertCache::Resident& resident : residents_) {
    tickets_.push_back(static_cast<const DeviceAdapter*>(resident.source)->tickets());
  }
  if (!whole_) return;
  copies_.begin_use(tickets_, stream_);
  place_pages();
}

// What the step used stays until its kernels are on the stream, where copies can wait for them.
void TreesStep::end() {
  waits_ = false;
  if (handles_.empty()) return;
  stream_.when_put([this, whole = whole_, handles = handles_, tickets = tickets_] {
    try {
      copies_.end_use(tickets, stream_);
    } catch (const Error&) {
      // A device that has failed uses nothing any more, as whoever waits for the step is told.
    }
    if (whole) tier_.let_go(handles, {});
  });
  whole_ = false;
  handles_.clear();
}

std::vector<int> TreesStep::run(int layer, std::span<const SiteOutput> outputs,
                                const AdapterRows& rows, const float* x, int x_width) {
  failed_.clear();
  try {
    compute({layer, outputs, rows, x, x_width});
    routing_.finish(stream_);
  } catch (...) {
    routing_.forget();
    copies_.settle();
    throw;
  }
  if (!whole_) {
    for (const auto& adapter : tickets_) copies_.settle(*adapter);
  }
  return std::exchange(failed_, {});
}

void TreesStep::compute(const Call& call) {
  list_works(call);
  for (size_t first = 0; first < works_.size();) {
    const size_t end = end_of_batch(first);
    const std::span<HostWork> works = std::span(works_).subspan(first, end - first);
    route_batch(call, works);
    if (whole_) {
      compute_resident();
    } else {
      compute_in_waves(works);
    }
    first = end;
  }
}

// Works in the order of their turns, so that a row gets the deltas of its adapters in one order
// whatever else is in the step.
void TreesStep::list_works(const Call& call) {
  works_.clear();
  int turns = 1;
  for (const AdapterRows::Group& group : call.rows.groups) turns = std::max(turns, group.turn + 1);
  for (int turn = 0; turn < turns; ++turn) {
    size_t adapter = 0;
    for (const AdapterRows::Group& group : call.rows.groups) {
      while (handles_[adapter] != group.handle) ++adapter;
      if (group.turn == turn) add_group(call, group, residents_[adapter]);
    }
  }
}

// Sees to it that the tables in the adapters' trunks are true.
void TreesStep::place_pages() {
  size_t places = 0;
  for (const ExpertCache::Resident& resident : residents_) {
    if (!is_placed(resident)) places += resident.source->pages();
  }
  if (places == 0) return;
  std::byte* next = placed_upload_.begin(places * sizeof(const std::byte*));
  for (const ExpertCache::Resident& resident : residents_) {
    if (is_placed(resident)) continue;
    auto& adapter = *static_cast<DeviceAdapter*>(resident.source);
    const size_t bytes = adapter.pages() * sizeof(const std::byte*);
    std::memcpy(next, resident.pages, bytes);
    placed_upload_.send(adapter.pages_on_device(resident.trunk), next, bytes, stream_);
    adapter.placed = {resident.trunk, resident.arrivals};
    next += bytes;
  }
  placed_upload_.end(stream_);
}

void TreesStep::add_group(const Call& call, const AdapterRows::Group& group,
                          const ExpertCache::Resident& resident) {
  HostWork work;
  work.adapter = static_cast<const DeviceAdapter*>(resident.source);
  work.group = &group;
  work.device.trunk = resident.trunk;
  work.device.counters = work.adapter->counters();
  work.device.scale = group.scale;
  if (group.control != nullptr) work.device.temperature = group.control->temperature;
  work.device.x = call.x;
  work.device.x_stride = call.x_width;
  const AdapterPlan& plan = work.adapter->adapter().plan();
  for (const SiteOutput& output : call.outputs) {
    work.site = plan.find(call.layer, output.site);
    if (work.site == nullptr) continue;
    SMORE_CHECK(work.site->mixture.inputs == call.x_width,
                "x is as wide as the adapted linear's input");
    const int site = static_cast<int>(work.site - plan.sites.data());
    work.linear = &work.adapter->linear(site);
    work.device.linear = work.adapter->linear_on_device(resident.trunk, site);
    if (whole_) {
      work.device.pages = work.adapter->pages_on_device(resident.trunk) + work.site->first_page;
      found_ += work.site->pages;
    }
    work.device.y = output.y;
    work.device.y_stride = output.stride;
    add_works(work);
  }
}

void TreesStep::add_works(const HostWork& shared) {
  HostWork work = shared;
  measure(1, work, measured_);
  const auto most =
      static_cast<int>(std::clamp<int64_t>(most_scratch_ / work.bytes(), 1, kMostRows));
  const int count = static_cast<int>(shared.group->rows.size());
  for (int row = 0; row < count; row += most) {
    work.first_row = row;
    measure(std::min(most, count - row), work, measured_);
    works_.push_back(work);
  }
}

// Works are computed together as far as the scratch memory goes; in waves those of one turn, as
// sums add to y in each wave.
size_t TreesStep::end_of_batch(size_t first) const {
  int64_t bytes = works_[first].bytes();
  size_t end = first + 1;
  for (; end < works_.size(); ++end) {
    bytes += works_[end].bytes();
    if (bytes > most_scratch_) break;
    if (!whole_ && works_[end].group->turn != works_[first].group->turn) break;
  }
  return end;
}

void TreesStep::route_batch(const Call& call, std::span<HostWork> works) {
  table_places_ = 0;
  if (!whole_) lay_out_table(works);
  batch_.begin(works, table_places_, scratch_, staging_);
  project(batch_.list(), stream_);
  route(batch_.list(), stream_);
  gather_pairs(batch_.list(), stream_);
  for (const RouteProbe& probe : call.rows.probes) {
    if (has_bit(probe.layers, call.layer)) routing_.read(probe, works, batch_, stream_);
  }
}

void TreesStep::compute_resident() {
  compress(batch_.list(), stream_);
  expand(batch_.list(), stream_);
  propagate(batch_.list(), stream_);
  for (const WorkList& turn : batch_.turns()) finish(turn, Finish::kBoth, stream_);
}

// Gives every linear of the works places in the table of pages.
void TreesStep::lay_out_table(std::span<HostWork> works) {
  for (size_t i = 0; i < works.size(); ++i) {
    const auto same = std::find_if(works.begin(), works.begin() + i, [&](const HostWork& other) {
      return other.site == works[i].site;
    });
    works[i].table = same == works.begin() + i ? table_places_ : same->table;
    if (works[i].table == table_places_) table_places_ += works[i].site->pages;
  }
}

// What they computed stays when experts go.
void TreesStep::compute_in_waves(std::span<HostWork> works) {
  list_pages(works);
  blocks_.resize(keys_.size());
  for (size_t first = 0; first < keys_.size();) {
    const std::span<const PageKey> wanted = std::span(keys_).subspan(first);
    const size_t count = tier_.pin(wanted, std::span(blocks_).subspan(first));
    const PinnedPages pinned(tier_, wanted.first(count));
    bring_pages(first, std::span(blocks_).subspan(first, count));
    compress(batch_.list(), stream_);
    expand(batch_.list(), stream_);
    finish(batch_.list(), Finish::kSums, stream_);
    copies_.end_use(tickets_, stream_);
    first += count;
  }
  propagate(batch_.list(), stream_);
  finish(batch_.list(), Finish::kTrees, stream_);
}

// The chosen experts, each once.
void TreesStep::list_pages(std::span<HostWork> works) {
  keys_.clear();
  places_.clear();
  std::vector<bool> listed(table_places_);
  const int32_t* start = batch_.read_starts(stream_).data();
  for (const HostWork& work : works) {
    for (int l = 0; l < work.linear->level_count; ++l) {
      const LevelPlan& level = work.linear->levels[l];
      for (int e = 0; e < level.experts; ++e) {
        const int page = level.first_page + e;
        if (start[e] == start[e + 1] || listed[work.table + page]) continue;
        listed[work.table + page] = true;
        keys_.push_back({work.adapter->handle(), work.site->first_page + page});
        places_.push_back(work.table + page);
      }
      start += level.experts + 1;
    }
  }
}

// Lets the kernels find the pages of keys [first, first + blocks) and no others.
void TreesStep::bring_pages(size_t first, std::span<const std::byte* const> blocks) {
  copies_.begin_use(tickets_, stream_);
  const size_t bytes = table_places_ * sizeof(const std::byte*);
  std::byte* upload = table_upload_.begin(bytes);
  auto** table = reinterpret_cast<const std::byte**>(upload);
  std::fill_n(table, table_places_, nullptr);
  for (size_t i = 0; i < blocks.size(); ++i) {
    table[places_[first + i]] = blocks[i];
    const int handle = keys_[first + i].adapter;
    if (blocks[i] != nullptr ||
        std::find(failed_.begin(), failed_.end(), handle) != failed_.end()) {
      continue;
    }
    failed_.push_back(handle);
  }
  table_upload_.send(batch_.table(), upload, bytes, stream_);
  table_upload_.end(stream_);
}

}  // namespace smore::cuda
