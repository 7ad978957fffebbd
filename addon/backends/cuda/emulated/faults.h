#pragma once

#include <string>
#include <vector>

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

// While one lives, there is no memory for graphs.
class RefusedGraphs {
 public:
  RefusedGraphs();
  ~RefusedGraphs();
  RefusedGraphs(const RefusedGraphs&) = delete;
  RefusedGraphs& operator=(const RefusedGraphs&) = delete;
};

// While one lives, there are these devices, or none and why.
struct Capability {
  int major = 9, minor = 0;
};
class OtherDevices {
 public:
  explicit OtherDevices(std::vector<Capability> devices, std::string fault = "");
  ~OtherDevices();
  OtherDevices(const OtherDevices&) = delete;
  OtherDevices& operator=(const OtherDevices&) = delete;
};

// While one lives, whoever asks for the device's work or waits for it hears that it has failed.
class BrokenDevice {
 public:
  BrokenDevice();
  ~BrokenDevice();
  BrokenDevice(const BrokenDevice&) = delete;
  BrokenDevice& operator=(const BrokenDevice&) = delete;
};

// While one lives, the device gets nowhere: nothing is reached, and whoever waits sleeps.
class HeldDevice {
 public:
  HeldDevice();
  ~HeldDevice();
  HeldDevice(const HeldDevice&) = delete;
  HeldDevice& operator=(const HeldDevice&) = delete;

  // Returns when so many threads sleep.
  void await_sleepers(int count) const;
};

}  // namespace smore::cuda::emulated
