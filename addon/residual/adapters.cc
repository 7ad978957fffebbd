#include "residual/adapters.h"

#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "engine/step.h"
#include "experts/cache.h"
#include "residual/adapter.h"
#include "residual/adapter_file.h"
#include "residual/adapter_step.h"

namespace smore {

struct Adapters::Impl {
  Impl(const ModelConfig& base, const AdapterOptions& options, Backend& backend)
      : base(base),
        options(options),
        cache({.bytes = options.memory_budget, .trunks = options.max_resident},
              backend.host_blocks()),
        step(backend.make_adapter_step(cache, options)) {}

  std::shared_ptr<Adapter> find(int handle) const {
    const std::lock_guard lock(mutex);
    const auto found = adapters.find(handle);
    if (found == adapters.end()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "adapter " + std::to_string(handle) + " is not loaded");
    }
    return found->second;
  }

  const ModelConfig base;
  const AdapterOptions options;
  mutable std::mutex mutex;  // of adapters
  std::map<int, std::shared_ptr<Adapter>> adapters;
  std::atomic<int> next_handle{1};
  ExpertCache cache;
  std::unique_ptr<AdapterStep> step;
};

Adapters::Adapters(const ModelConfig& base, const AdapterOptions& options, Backend& backend)
    : impl_(std::make_unique<Impl>(base, options, backend)) {}

Adapters::~Adapters() = default;

int Adapters::add(const std::string& folder, const CheckProgress& progress) {
  return add(open_adapter_folder(folder), progress);
}

int Adapters::add(const AdapterFile& file, const CheckProgress& progress) {
  AdapterPlan plan = plan_adapter(file, impl_->base, impl_->options.experts, progress);
  const std::string name = plan.path;
  const int handle = impl_->next_handle++;
  auto adapter = std::make_shared<Adapter>(handle, std::move(plan));
  impl_->cache.add(handle, adapter, name);
  try {
    impl_->step->add(adapter, name);
  } catch (...) {
    impl_->cache.remove(handle);
    throw;
  }
  const std::lock_guard lock(impl_->mutex);
  impl_->adapters[handle] = std::move(adapter);
  return handle;
}

AdapterInfo Adapters::info(int handle) const { return impl_->find(handle)->plan().info; }

bool Adapters::acquire(int handle) {
  if (!impl_->cache.acquire(handle)) return false;
  bool acquired = false;
  try {
    acquired = impl_->step->acquire(handle);
  } catch (...) {
    impl_->cache.release(handle);
    throw;
  }
  if (!acquired) impl_->cache.release(handle);
  return acquired;
}

void Adapters::release(int handle) {
  impl_->step->release(handle);
  impl_->cache.release(handle);
}

bool Adapters::acquired(int handle) const { return impl_->cache.pinned(handle); }

void Adapters::remove(int handle) {
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->adapters.erase(handle) == 0) return;
  }
  impl_->step->remove(handle);
  impl_->cache.remove(handle);
}

void Adapters::require_usable(int handle, const RouterControl* control) const {
  const auto refuse = [handle](const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument,
                "step: adapter " + std::to_string(handle) + " " + what);
  };
  if (!acquired(handle)) refuse("is not acquired");
  if (control == nullptr) return;
  const std::vector<TreeLevel>& tree = impl_->find(handle)->plan().info.tree;
  for (size_t l = 0; l < control->banned.size(); ++l) {
    const std::vector<int32_t>& banned = control->banned[l];
    if (banned.empty()) continue;
    if (l >= tree.size()) {
      refuse("has " + std::to_string(tree.size()) + " levels of routers, level " +
             std::to_string(l) + " has banned experts");
    }
    if (banned.front() < 0 || banned.back() >= tree[l].experts) {
      refuse("has experts 0.." + std::to_string(tree[l].experts - 1) + " at level " +
             std::to_string(l) + ", others are banned");
    }
    if (tree[l].experts - static_cast<int>(banned.size()) < tree[l].active) {
      refuse("chooses " + std::to_string(tree[l].active) + " experts at level " +
             std::to_string(l) + ", fewer are left");
    }
  }
}

int64_t Adapters::routes(int handle, const uint32_t* layers) const {
  int64_t count = 0;
  for (const SitePlan& site : impl_->find(handle)->plan().sites) {
    if (has_bit(layers, site.layer)) count += site.mixture.routes();
  }
  return count;
}

bool Adapters::waits() const { return impl_->step->waits(); }

void Adapters::begin(const AdapterRows& rows) {
  if (!rows.groups.empty()) impl_->step->begin(rows);
}

void Adapters::end() { impl_->step->end(); }

std::vector<int> Adapters::apply(int layer, Site site, const AdapterRows& rows, const float* x,
                                 int x_width, float* y, int64_t y_stride) {
  const SiteOutput output{site, y, y_stride};
  const AdapterUse use(*this, rows);
  return apply(layer, {&output, 1}, rows, x, x_width);
}

std::vector<int> Adapters::apply(int layer, std::span<const SiteOutput> outputs,
                                 const AdapterRows& rows, const float* x, int x_width) {
  if (rows.groups.empty()) return {};
  return impl_->step->run(layer, outputs, rows, x, x_width);
}

AdapterTraffic Adapters::take_traffic() { return impl_->step->take_traffic(); }

CachePlace Adapters::place(int handle) const { return impl_->cache.place(handle); }

void Adapters::stats(double* stats) const {
  const CacheStats cache = impl_->cache.stats();
  stats[kStatExpertHits] += static_cast<double>(cache.hits);
  stats[kStatExpertMisses] += static_cast<double>(cache.misses);
  stats[kStatExpertLoads] += static_cast<double>(cache.loads);
  stats[kStatExpertEvictions] += static_cast<double>(cache.evictions);
  stats[kStatExpertLoadBytes] += static_cast<double>(cache.load_bytes);
  stats[kStatExpertLoadSeconds] += cache.load_seconds;
  stats[kStatResidentBytes] += static_cast<double>(cache.resident_bytes);
  stats[kStatResidentPages] += static_cast<double>(cache.resident_pages);
  stats[kStatResidentAdapters] += static_cast<double>(cache.resident_trunks);
  stats[kStatAdapterBudgetBytes] += static_cast<double>(impl_->cache.budget());
  impl_->step->stats(stats);
}

std::vector<std::vector<uint64_t>> Adapters::routing(int handle) const {
  return impl_->step->routing(*impl_->find(handle));
}

LinearRouting Adapters::routing_by_linear(int handle) const {
  return impl_->step->routing_by_linear(*impl_->find(handle));
}

}  // namespace smore
