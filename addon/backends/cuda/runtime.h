#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/kernel_list.h"

// What the host asks of a device, and nothing of CUDA's own headers: runtime/ is the CUDA runtime,
// emulated/ the same on the host. Everything throws Error(kDevice), or Error(kOutOfMemory) where
// memory is short, with what was asked and what the device answered.

namespace smore::cuda {

struct DeviceFacts {
  std::string name;          // "NVIDIA H200"
  int major = 0, minor = 0;  // compute capability
  int processors = 0;        // multiprocessors
  size_t total_memory = 0;
  size_t free_memory = 0;  // now
};

// The devices of this machine.
struct DeviceList {
  // Why each of them cannot be used; empty for those that can.
  std::vector<std::string> refusals;
  // Why there are none.
  std::string fault;
};
DeviceList list_devices();

// Makes a device the calling thread's, which every thread that uses one does first.
void use_device(int device);
// The calling thread's: the first of the machine until it chooses one.
int current_device();
// As use_device(), for what goes on a thread that may have chosen none: CUDA would open the first
// device for it, at the cost of hundreds of megabytes there. A device that refuses is ignored.
void return_to_device(int device) noexcept;
DeviceFacts device_facts(int device);

enum class Place {
  kDevice,  // aligned to 256
  kPinned,  // of the host, which a device copies from and to without stopping anybody
};

// Bytes of any value, of the device that the thread uses. A device's go when every stream has
// passed what may use them. Those of the host go at once: whoever had them copied waits before.
template <Place kPlace>
class Memory {
 public:
  Memory() = default;
  explicit Memory(size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    device_ = current_device();
    data_ = take(bytes);
  }
  ~Memory() {
    if (data_ == nullptr) return;
    return_to_device(device_);
    give_back(data_);
  }
  Memory(Memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        device_(other.device_) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(device_, other.device_);
    return *this;
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  static std::byte* take(size_t bytes);
  static void give_back(std::byte* data) noexcept;

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  int device_ = 0;
};

using DeviceMemory = Memory<Place::kDevice>;
using PinnedMemory = Memory<Place::kPinned>;

template <>
std::byte* DeviceMemory::take(size_t bytes);
template <>
void DeviceMemory::give_back(std::byte* data) noexcept;
template <>
std::byte* PinnedMemory::take(size_t bytes);
template <>
void PinnedMemory::give_back(std::byte* data) noexcept;

// The state that a twin has of something, which goes on the device where it was made.
template <class State>
class OnDevice {
 public:
  explicit OnDevice(std::unique_ptr<State> state) : state_(std::move(state)) {}
  OnDevice(OnDevice&&) noexcept = default;
  OnDevice& operator=(OnDevice&&) = delete;
  ~OnDevice() {
    if (state_ == nullptr) return;
    return_to_device(device_);
    state_.reset();
  }
  int device() const { return device_; }
  State* operator->() const { return state_.get(); }
  State& operator*() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
  int device_ = current_device();
};

// Work that a device does in order, beside other streams. The host goes on.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Returns when everything so far is done: whoever waits sleeps. Throws what went wrong on the
  // device meanwhile.
  void synchronize() const;
  // Likewise, on any thread, before something goes that this may use. A device that fails uses
  // nothing any more, as whoever waits for its work is told.
  void drain() const noexcept;

  // From now on kernels are listed, and `put` brings the list to the stream before anything else
  // that is asked of it. Null: they are put at once again.
  void list_kernels(KernelList* list, std::function<void()> put = {});
  // Where launches go; null = they are put at once.
  KernelList* listing() const { return list_; }
  // Brings what is listed to the stream.
  void catch_up() const;
  // Calls it when the kernels so far are on the stream: at once unless they are listed.
  void when_put(std::function<void()> call) const;

  struct State;  // the twin's own
  State& state() const { return *state_; }

 private:
  OnDevice<State> state_;
  mutable KernelList* list_ = nullptr;
  std::function<void()> put_;
  mutable std::vector<std::function<void()>> when_put_;
};

// What a library of CUDA takes for the stream.
void* native_handle(const Stream& stream);

// Ends the process where no device takes a launch of this size.
void require_launchable(const Extent& grid, const Extent& block, size_t shared_bytes);

// Launches a kernel that was listed.
void put_kernel(const KernelList& list, size_t index, const Stream& stream);

// A list of kernels as one piece of work. It may go while it runs: what was launched ends.
class Graph {
 public:
  Graph(const KernelList& list, const Stream& stream);
  ~Graph();
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&&) = delete;

  // Gives a kernel the arguments that it has in a list of the same calls, for launches from now on.
  void change(const KernelList& list, size_t index);
  void launch(const Stream& stream) const;

 private:
  struct State;
  OnDevice<State> state_;
};

// Memory of a device that comes and goes while it works: freed memory stays here for what comes
// next. It is taken and given back in the order of one stream; what uses it on others waits for
// that one, and that one for them.
class DevicePool {
 public:
  explicit DevicePool(int device);
  ~DevicePool();
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;

  std::byte* take(size_t bytes, const Stream& stream);
  void give_back(std::byte* data, const Stream& stream);

 private:
  struct State;
  OnDevice<State> state_;
};

// A point in a stream's work, for other streams and the host to wait for. Before the first record
// it counts as reached. Whoever waits for one sleeps.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream& stream);
  void make_wait(const Stream& stream) const;  // what is put on the stream after this
  bool reached() const;
  void synchronize() const;

 private:
  struct State;
  OnDevice<State> state_;
};

// Copies in a stream's order. Host memory must stay as it is until the stream has passed.
void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream);
// Likewise, but before kernels that are listed.
void copy_ahead(void* to, const void* from, size_t bytes, const Stream& stream);
void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream);
void fill_bytes(void* to, int value, size_t bytes, const Stream& stream);

}  // namespace smore::cuda
