#include "residual/adapters.h"

#include <map>
#include <mutex>
#include <utility>

#include "core/error.h"
#include "engine/step.h"
#include "experts/cache.h"
#include "residual/adapter.h"
#include "residual/adapter_file.h"
#include "residual/step.h"

namespace smore {

struct Adapters::Impl {
  Impl(const ModelConfig& base, const AdapterOptions& options, Backend& backend)
      : base(base),
        options(options),
        cache({options.memory_budget, options.max_resident}),
        step(backend, cache) {}

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
  mutable std::mutex mutex;  // of adapters and next_handle
  std::map<int, std::shared_ptr<Adapter>> adapters;
  int next_handle = 1;
  ExpertCache cache;
  ResidualStep step;
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
  const std::lock_guard lock(impl_->mutex);
  const int handle = impl_->next_handle;
  auto adapter = std::make_shared<Adapter>(handle, std::move(plan));
  impl_->cache.add(handle, adapter, name);
  impl_->adapters[handle] = std::move(adapter);
  impl_->next_handle += 1;
  return handle;
}

AdapterInfo Adapters::info(int handle) const { return impl_->find(handle)->plan().info; }

bool Adapters::acquire(int handle) { return impl_->cache.acquire(handle); }

void Adapters::release(int handle) { impl_->cache.release(handle); }

bool Adapters::acquired(int handle) const { return impl_->cache.pinned(handle); }

void Adapters::remove(int handle) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->adapters.erase(handle) > 0) impl_->cache.remove(handle);
}

std::vector<int> Adapters::apply(int layer, std::span<const SiteOutput> outputs,
                                 const AdapterRows& rows, const float* x, int x_width) {
  if (rows.groups.empty()) return {};
  return impl_->step.run(layer, outputs, rows, x, x_width);
}

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
}

std::vector<std::vector<uint64_t>> Adapters::routing(int handle) const {
  return impl_->find(handle)->routing();
}

}  // namespace smore
