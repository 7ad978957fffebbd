#pragma once

#include <span>
#include <vector>

#include "backends/cuda/runtime.h"
#include "backends/cuda/trees_works.h"
#include "residual/adapters.h"

namespace smore::cuda {

// Brings what rows of a step chose to the probes that want it: by way of pinned memory, so that the
// host waits once for all of a call.
class RoutingReads {
 public:
  // Puts copies of what the probe's row chose in these works on the stream.
  void read(const RouteProbe& probe, std::span<const HostWork> works, const WorkBatch& batch,
            const Stream& stream);
  // Waits for them, and fills the probes.
  void finish(const Stream& stream);
  // Of a call that failed: fills none.
  void forget() { reads_.clear(); }

 private:
  // Values of four bytes of one level.
  struct Read {
    void* to;
    const std::byte* from;
    size_t bytes;
  };

  void add(void* to, const void* from, int64_t count, const Stream& stream);

  std::vector<PinnedMemory> memory_;  // the last one has room
  size_t used_ = 0;                   // of that
  std::vector<Read> reads_;
};

}  // namespace smore::cuda
