#include "backends/cuda/staging.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace smore::cuda {

const int32_t* Staging::upload(std::span<const std::span<const int32_t>> arrays) {
  size_t bytes = 0;
  for (const auto& array : arrays) bytes += array.size_bytes();
  Turn& turn = turns_[next_];
  next_ = (next_ + 1) % kTurns;
  turn.copied.synchronize();
  if (bytes > turn.host.bytes()) {
    const size_t room = std::bit_ceil(bytes);
    PinnedMemory host(room);  // both halves grow, or none
    turn.device = DeviceMemory(room);
    turn.host = std::move(host);
  }
  auto* to = turn.host.as<int32_t>();
  for (const auto& array : arrays) to = std::copy(array.begin(), array.end(), to);
  copy_to_device(turn.device.data(), turn.host.data(), bytes, stream_);
  turn.copied.record(stream_);
  return turn.device.as<int32_t>();
}

}  // namespace smore::cuda
