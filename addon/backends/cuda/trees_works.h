#pragma once

#include <span>
#include <vector>

#include "backends/cuda/runtime.h"
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
  int table = 0;       // which pages of the call (CallPages) it reads, unless those of the trunk
  int64_t floats = 0;  // of scratch memory
  int64_t starts = 0;  // likewise, for WorkLevelSlots::expert_start
  Work device;         // what is known before the scratch memory is
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

// Floats of scratch memory that works which are computed together may take.
constexpr int64_t kMostScratch = int64_t{64} << 20;

// Gives a work of `count` rows its scratch memory; levels: [L]. Rooms without memory tell the size.
void lay_out(const LinearPlan& linear, int count, Room& room, Room& starts, Work& work,
             WorkLevelSlots* levels);

// Memory of the host that takes turns carrying what it has written to places on the device.
class Upload {
 public:
  // Room for so many bytes. Waits for the turn before the last ones.
  std::byte* begin(size_t bytes);
  void send_to(void* to, const Stream& stream);

 private:
  struct Turn {
    PinnedMemory host;
    Event sent;
  };

  static constexpr int kTurns = 16;
  Turn turns_[kTurns];
  int next_ = 0;
  size_t bytes_ = 0;
};

// Works that are computed together: their descriptions and scratch memory on the device.
class WorkBatch {
 public:
  // Brings them to the device. Their `device` parts are completed.
  void begin(std::span<HostWork> works, Staging& staging, const Stream& stream);

  const WorkList& list() const { return list_; }
  // Those of each turn alone.
  std::span<const WorkList> turns() const { return turns_; }
  const WorkLevelSlots& level(size_t work, int l) const { return levels_[first_level_[work] + l]; }

  // WorkLevelSlots::expert_start of all works, level by level, once the stream has come here.
  std::span<const int32_t> read_starts(const Stream& stream);

 private:
  void reserve(size_t floats, size_t starts);
  void describe(std::span<HostWork> works);
  void end_turn(size_t first, const int (&ends)[kStages]);
  void write(std::span<const HostWork> works, Staging& staging);

  DeviceMemory scratch_;
  DeviceMemory starts_;
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
