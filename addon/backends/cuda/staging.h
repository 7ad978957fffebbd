#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/cuda/runtime.h"

namespace smore::cuda {

// The next number that is a power of two or one of the three steps between two of them: what grows
// slowly keeps its bucket for long.
size_t bucket_of(size_t count);

// The way of a step's small arrays to the device. The host writes them one after the other into
// pinned memory; from there they are copied when they are sent or, where the stream lists kernels,
// all at once before these. Places on the device are the same in every step whose arrays come in
// the same buckets of sizes. It grows to the largest step.
class Staging {
 public:
  explicit Staging(const Stream& stream) : stream_(stream) {}

  // So that steps whose arrays take no more will not grow it. Not within a step.
  void reserve(size_t bytes);
  // What it takes of the device for them.
  static size_t room_for(size_t bytes);

  // A step begins: what was placed before means nothing any more.
  void begin();

  // A piece of both memories, aligned to 256. What is written to the first is in the second for the
  // kernels that come after send().
  struct Piece {
    std::byte* host;
    std::byte* device;
  };
  Piece take(size_t bytes);
  void send();

  // Where a copy of the array is until the next step.
  const int32_t* upload(std::span<const int32_t> array);

  // Brings what was written to the stream, ahead of kernels that are listed.
  void put();

 private:
  static constexpr int kTurns = 3;  // steps under way, of which the host writes one
  struct Turn {
    PinnedMemory host;
    Event copied;  // and used
    // What was too small for the step, some of which is used by it: until the turn comes again.
    std::vector<DeviceMemory> outgrown;
    std::vector<PinnedMemory> outgrown_host;
  };

  void grow(size_t bytes);

  const Stream& stream_;
  DeviceMemory device_;
  Turn turns_[kTurns];
  int turn_ = 0;
  size_t used_ = 0;  // of the running step
  size_t put_ = 0;   // of these, what is on its way
};

}  // namespace smore::cuda
