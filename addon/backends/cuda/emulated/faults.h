#pragma once

// What tests make the emulated device refuse.

namespace smore::cuda::emulated {

// While one lives, the allocation of the device's memory after `granted` others finds none.
class RefusedAllocation {
 public:
  explicit RefusedAllocation(int granted);
  ~RefusedAllocation();
  RefusedAllocation(const RefusedAllocation&) = delete;
  RefusedAllocation& operator=(const RefusedAllocation&) = delete;

  bool happened() const;
};

}  // namespace smore::cuda::emulated
