#pragma once

#include <cstdint>
#include <span>

#include "backends/cuda/runtime.h"

namespace smore::cuda {

// The way of small arrays to the device: they are copied at once into pinned memory, from where the
// device takes them when the stream comes to it. Memory is used in turns, and grows to the largest.
class Staging {
 public:
  explicit Staging(const Stream& stream) : stream_(stream) {}

  // Copies the arrays and gives where they are on the device, until the turn comes round again.
  const int32_t* upload(std::span<const std::span<const int32_t>> arrays);
  const int32_t* upload(std::span<const int32_t> array) { return upload({&array, 1}); }

 private:
  static constexpr int kTurns = 8;
  struct Turn {
    PinnedMemory host;
    DeviceMemory device;
    Event copied;
  };

  const Stream& stream_;
  Turn turns_[kTurns];
  int next_ = 0;
};

}  // namespace smore::cuda
