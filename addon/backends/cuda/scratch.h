#pragma once

#include <cstddef>

#include "backends/cuda/runtime.h"

namespace smore::cuda {

// Memory of what runs on a stream, be it an op or a call of adapters. They use it in turns, as the
// stream does them: it holds nothing from one to the next.
class Scratch {
 public:
  explicit Scratch(const Stream& stream) : stream_(stream) {}

  // Grows where less was taken before.
  std::byte* take(size_t bytes) {
    if (bytes > memory_.bytes()) {
      stream_.catch_up();  // kernels that are listed use it as it is
      memory_ = {};        // first, as the two may not fit beside each other
      memory_ = DeviceMemory(bytes);
    }
    return memory_.data();
  }

 private:
  const Stream& stream_;
  DeviceMemory memory_;
};

}  // namespace smore::cuda
