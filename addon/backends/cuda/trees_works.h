#pragma once

#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/runtime.h"
#include "backends/cuda/scratch.h"
#include "backends/cuda/staging.h"
#include "backends/cuda/trees.h"
#include "backends/cuda/trees_adapter.h"
#include "residual/adapters.h"

namespace smore::cuda {

// A work as the host knows it.
struct HostWork {
  const DeviceAdapter* adapter = nullptr;
  const SitePlan* site = nullptr;
  const LinearPlan* linear = nullptr;  // the host's
  const AdapterRows::Group* group = nullptr;
  int first_row = 0;   // of the group's
  int table = 0;       // where its pages are in the table of the call, unless the trunk's is used
  int64_t floats = 0;  // of scratch memory
  int64_t starts = 0;  // likewise, for WorkLevelSlots::expert_start
  Work device;         // what is known before the scratch memory is

  // Of scratch memory, with its places in a table of pages.
  int64_t bytes() const {
    return (floats + starts) * static_cast<int64_t>(sizeof(float)) +
           static_cast<int64_t>(site->pages * sizeof(const std::byte*));
  }
};

// Scratch memory of works, in pieces.
class Room {
 public:
  explicit Room(std::byte* start = nullptr) : next_(reinterpret_cast<uintptr_t>(start)) {}
  template <class T>
  T* take(int64_t count) {
    static_assert(sizeof(T) == sizeof(float));
    return reinterpret_cast<T*>(std::exchange(next_, next_ + count * sizeof(T)));
  }
  uintptr_t next() const { return next_; }

 private:
  uintptr_t next_;
};

// Bytes of scratch memory that works which are computed together take at most on such a device.
size_t works_scratch(const DeviceFacts& facts);

// What steps in which each sequence has one adapter take at most of Staging for their works.
uint64_t works_staging(int layers, const StepSizes& sizes);

// Gives a work of `count` rows its scratch memory; levels: [L]. Rooms without memory tell the size.
void lay_out(const LinearPlan& linear, int count, Room& room, Room& starts, Work& work,
             WorkLevelSlots* levels);
// The size alone. levels: room for some.
void measure(int count, HostWork& work, std::vector<WorkLevelSlots>& levels);

// Memory of the host that takes turns carrying what it has written to places on the device.
class Upload {
 public:
  // Room for so many bytes. Waits for the turn before the last ones.
  std::byte* begin(size_t bytes);
  // Bytes of it on their way.
  void send(void* to, const std::byte* from, size_t bytes, const Stream& stream);
  void end(const Stream& stream);

 private:
  struct Turn {
    PinnedMemory host;
    Event sent;
  };

  static constexpr int kTurns = 16;
  Turn turns_[kTurns];
  int next_ = 0;
};

// Works that are computed together: their descriptions and scratch memory on the device.
class WorkBatch {
 public:
  // Brings them to the device. Their `device` parts are completed; those without pages get places
  // in a table of so many.
  void begin(std::span<HostWork> works, int table_places, Scratch& scratch, Staging& staging);

  const WorkList& list() const { return list_; }
  // Those of each turn alone.
  std::span<const WorkList> turns() const { return turns_; }
  const std::byte** table() const { return table_; }
  const WorkLevelSlots& level(size_t work, int l) const { return levels_[first_level_[work] + l]; }

  // WorkLevelSlots::expert_start of all works, level by level, once the stream has come here.
  std::span<const int32_t> read_starts(const Stream& stream);

 private:
  void describe(std::span<HostWork> works, std::byte* floats);
  void end_turn(size_t first, const int (&ends)[kStages]);
  void write(std::span<const HostWork> works, Staging& staging);

  const std::byte** table_ = nullptr;
  std::byte* starts_ = nullptr;
  PinnedMemory host_starts_;
  size_t start_count_ = 0;
  std::vector<WorkLevelSlots> levels_;
  std::vector<size_t> first_level_;
  std::vector<Work> works_;    // with those that are none
  std::vector<size_t> place_;  // of each work among them
  WorkList list_;
  std::vector<WorkList> turns_;  // until they are written, with places among works_
};

}  // namespace smore::cuda
