#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "residual/adapter.h"
#include "residual/adapters.h"

namespace smore {

// A backend's way of computing adapters, which Adapters owns. Kernels that read the host's memory
// compute from the host tier and need no more than run(); a device keeps a tier of its own, and is
// told what happens to adapters: they are in the host tier for as long as in its own.
class AdapterStep {
 public:
  virtual ~AdapterStep() = default;

  // A step begins and ends: between the two come the calls of run(), for these groups or some of
  // their rows. All on the engine's thread; the adapters are acquired, the groups not empty.
  virtual void begin(const AdapterRows& /*rows*/) {}
  virtual void end() {}

  // Adapters::waits(). Between begin() and end().
  virtual bool waits() const { return false; }

  // Adapters::apply().
  virtual std::vector<int> run(int layer, std::span<const SiteOutput> outputs,
                               const AdapterRows& rows, const float* x, int x_width) = 0;

  // Adapters::take_traffic().
  virtual AdapterTraffic take_traffic() { return {}; }

  // As the functions of Adapters of these names. Any thread.
  virtual void add(const std::shared_ptr<Adapter>& /*adapter*/, const std::string& /*name*/) {}
  virtual bool acquire(int /*handle*/) { return true; }
  virtual void release(int /*handle*/) {}
  virtual void remove(int /*handle*/) {}
  virtual void stats(double* /*stats*/) const {}
  virtual std::vector<std::vector<uint64_t>> routing(const Adapter& adapter) const {
    return adapter.routing();
  }
  // Empty where it counts no linear by itself.
  virtual LinearRouting routing_by_linear(const Adapter& /*adapter*/) const { return {}; }
};

}  // namespace smore
