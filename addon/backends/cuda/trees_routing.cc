#include "backends/cuda/trees_routing.h"

#include <algorithm>
#include <cstring>

#include "engine/step.h"

namespace smore::cuda {

void RoutingReads::read(const RouteProbe& probe, std::span<const HostWork> works,
                        const WorkBatch& batch, const Stream& stream) {
  for (size_t i = 0; i < works.size(); ++i) {
    const HostWork& work = works[i];
    if (work.adapter->handle() != probe.handle || work.linear->combine == Combine::kSum) continue;
    const int32_t* rows = work.group->rows.data() + work.first_row;
    const int32_t* row = std::lower_bound(rows, rows + work.device.count, probe.row);
    if (row == rows + work.device.count || *row != probe.row) continue;
    int64_t at = 0;  // behind the linears before this one
    for (const SitePlan& site : work.adapter->adapter().plan().sites) {
      if (&site == work.site) break;
      if (has_bit(probe.layers, site.layer)) at += site.mixture.routes();
    }
    for (int l = 0; l < work.linear->level_count; ++l) {
      const int64_t pairs = work.linear->levels[l].pairs;
      const int64_t from = (row - rows) * pairs;
      const WorkLevelSlots& level = batch.level(i, l);
      add(probe.experts + at, level.ids + from, pairs, stream);
      add(probe.scores + at, level.scores + from, pairs, stream);
      at += pairs;
    }
  }
}

void RoutingReads::add(void* to, const void* from, int64_t count, const Stream& stream) {
  constexpr size_t kLeast = size_t{64} << 10;
  const size_t bytes = static_cast<size_t>(count) * sizeof(int32_t);
  if (memory_.empty() || memory_.back().bytes() < used_ + bytes) {
    memory_.emplace_back(std::max(kLeast, bytes));
    used_ = 0;
  }
  std::byte* between = memory_.back().data() + used_;
  used_ += bytes;
  copy_to_host(between, from, bytes, stream);
  reads_.push_back({to, between, bytes});
}

void RoutingReads::finish(const Stream& stream) {
  if (reads_.empty()) return;
  stream.synchronize();
  for (const Read& read : reads_) std::memcpy(read.to, read.from, read.bytes);
  reads_.clear();
  memory_.erase(memory_.begin(), memory_.end() - 1);
  used_ = 0;
}

}  // namespace smore::cuda
