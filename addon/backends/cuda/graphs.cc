#include "backends/cuda/graphs.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace smore::cuda {

void Graphs::put(const KernelList& list) {
  if (list.calls().size() < kLeastKernels) return put_directly(list);
  const uint64_t hash = list.hash_of_calls();
  Place place = find(hash, list);
  if (place == kept_.end()) {
    if (!met_before(hash)) return put_directly(list);
    place = make(hash, list);
    if (place == kept_.end()) return put_directly(list);
  }
  kept_.splice(kept_.begin(), kept_, place);
  launch(*place, list);
}

void Graphs::put_directly(const KernelList& list) {
  for (size_t i = 0; i < list.calls().size(); ++i) put_kernel(list, i, stream_);
  counts_.direct += 1;
}

void Graphs::launch(Kept& kept, const KernelList& list) {
  if (!kept.list.same_arguments(list)) {
    for (size_t i = 0; i < list.calls().size(); ++i) {
      if (kept.list.same_arguments(list, i)) continue;
      kept.graph.change(list, i);
      kept.list.copy_arguments(list, i);
      counts_.updates += 1;
    }
  }
  kept.graph.launch(stream_);
  counts_.launches += 1;
}

// What comes once, as most steps with rows of prompts do, is worth no graph.
bool Graphs::met_before(uint64_t hash) {
  if (std::find(met_.begin(), met_.end(), hash) != met_.end()) return true;
  met_.push_back(hash);
  if (met_.size() > kMostGraphs) met_.pop_front();
  return false;
}

Graphs::Place Graphs::find(uint64_t hash, const KernelList& list) {
  const auto [first, last] = by_hash_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (at->second->list.same_calls(list)) return at->second;
  }
  return kept_.end();
}

// None where the device has no memory for one more: the next one has the place of another.
Graphs::Place Graphs::make(uint64_t hash, const KernelList& list) {
  if (kept_.size() == kMostGraphs) drop_last();
  std::list<Kept> made;
  try {
    made.push_front({hash, list, Graph(list, stream_)});
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kOutOfMemory) throw;
    if (!kept_.empty()) drop_last();
    return kept_.end();
  }
  by_hash_.emplace(hash, made.begin());
  kept_.splice(kept_.begin(), made);  // after what may fail: both have it or none
  counts_.captures += 1;
  return kept_.begin();
}

// It may be running, which it does to its end: CUDA frees it after that.
void Graphs::drop_last() {
  const Place last = std::prev(kept_.end());
  const auto [begin, end] = by_hash_.equal_range(last->hash);
  by_hash_.erase(std::find_if(begin, end, [&](const auto& at) { return at.second == last; }));
  kept_.erase(last);
}

}  // namespace smore::cuda
