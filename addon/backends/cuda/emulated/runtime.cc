#include "backends/cuda/runtime.h"

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "backends/cuda/capability.h"
#include "backends/cuda/emulated/block.h"
#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/emulated/memory.h"
#include "backends/cuda/emulated/streams.h"
#include "core/check.h"
#include "core/error.h"
#include "core/memory_text.h"

namespace smore::cuda {
namespace {

// One thing at a time happens on the emulated device, whoever asked for it.
std::recursive_mutex& mutex() {
  static std::recursive_mutex the;
  return the;
}

std::atomic<bool> broken{false};

}  // namespace

struct Stream::State {
  struct Item {
    std::function<void()> work;
    bool frees = false;  // memory of a pool, which goes with a device that has failed too
  };
  std::deque<Item> work;
  const int device = emulated::current_device;

  // An item may wait for another stream, but not for this one: it stands before what it waits for.
  // A device that has failed does nothing any more: the host's memory may have gone since.
  void run(const std::function<bool()>& enough) {
    const emulated::OpenMemory opened;
    while (!enough() && !work.empty()) {
      const Item next = std::move(work.front());
      work.pop_front();
      if (!broken || next.frees) next.work();
    }
  }
  void run_all() {
    run([] { return false; });
  }
};

// Records are counted: a wait is for the last one before it.
struct Event::State {
  std::shared_ptr<uint64_t> done = std::make_shared<uint64_t>(0);
  uint64_t recorded = 0;
  int asked = 0;                    // in vain, since the last record
  Stream::State* stream = nullptr;  // of the last record

  bool reached() const { return *done >= recorded; }
};

namespace {

std::set<Stream::State*>& streams() {
  static std::set<Stream::State*> all;
  return all;
}

std::atomic<bool> refuses_graphs{false};

void require_whole() {
  if (broken)
    throw Error(ErrorCode::kDevice, "CUDA: work of a step: the emulated device is broken");
}

// Of a device that is held, and those who wait for it.
struct Hold {
  std::mutex mutex;
  std::condition_variable changed;
  bool held = false;
  int sleepers = 0;

  bool holds() {
    const std::lock_guard lock(mutex);
    return held;
  }
  // Lets the device go meanwhile.
  void wait(std::unique_lock<std::recursive_mutex>& device) {
    std::unique_lock lock(mutex);
    if (!held) return;
    device.unlock();
    ++sleepers;
    changed.notify_all();
    changed.wait(lock, [this] { return !held; });
    --sleepers;
    lock.unlock();
    device.lock();
  }
};

Hold& hold() {
  static Hold the;
  return the;
}

void run_everything() {
  for (Stream::State* stream : streams()) stream->run_all();
}

}  // namespace

namespace emulated {
namespace {

std::vector<Capability> capabilities{{9, 0}};
std::string no_devices;

}  // namespace

thread_local int current_device = 0;

OtherDevices::OtherDevices(std::vector<Capability> devices, std::string fault) {
  capabilities = std::move(devices);
  no_devices = std::move(fault);
}

OtherDevices::~OtherDevices() {
  capabilities = {{9, 0}};
  no_devices.clear();
  current_device = 0;  // what the thread had chosen is there no more
}

BrokenDevice::BrokenDevice() { broken = true; }

BrokenDevice::~BrokenDevice() { broken = false; }

RefusedGraphs::RefusedGraphs() { refuses_graphs = true; }

RefusedGraphs::~RefusedGraphs() { refuses_graphs = false; }

HeldDevice::HeldDevice() {
  const std::lock_guard lock(hold().mutex);
  hold().held = true;
}

HeldDevice::~HeldDevice() {
  const std::lock_guard lock(hold().mutex);
  hold().held = false;
  hold().changed.notify_all();
}

void HeldDevice::await_sleepers(int count) const {
  std::unique_lock lock(hold().mutex);
  hold().changed.wait(lock, [&] { return hold().sleepers == count; });
}

void require_own_stream(const Stream& stream) {
  SMORE_CHECK(stream.state().device == current_device, "a kernel on a stream of another device");
}

void enqueue(const Stream& stream, std::function<void()> work) {
  const std::lock_guard lock(mutex());
  require_whole();
  stream.state().work.push_back({std::move(work)});
}

}  // namespace emulated

DeviceList list_devices() {
  DeviceList list;
  list.fault = emulated::no_devices;
  for (const emulated::Capability& c : emulated::capabilities) {
    list.refusals.push_back(refused_capability("emulated", c.major, c.minor));
  }
  return list;
}

void use_device(int device) {
  if (device >= 0 && device < static_cast<int>(emulated::capabilities.size())) {
    emulated::current_device = device;
    return;
  }
  throw Error(ErrorCode::kDevice,
              "CUDA: choice of the device: there is no emulated device " + std::to_string(device));
}

DeviceFacts device_facts(int device) {
  use_device(device);
  const std::lock_guard lock(mutex());
  return {.name = "emulated",
          .major = emulated::capabilities[device].major,
          .minor = emulated::capabilities[device].minor,
          .processors = 2,
          .total_memory = emulated::kMemoryBytes,
          .free_memory = emulated::free_bytes()};
}

namespace {

[[noreturn]] void refuse_memory(size_t bytes) {
  throw Error(ErrorCode::kOutOfMemory, "the device has no " + memory_text(bytes) +
                                           " in one piece; " + memory_text(emulated::free_bytes()) +
                                           " of " + memory_text(emulated::kMemoryBytes) +
                                           " of the device are free");
}

}  // namespace

template <>
DeviceMemory::Memory(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex());
  data_ = emulated::allocate(bytes, emulated::current_device);
  if (data_ == nullptr) refuse_memory(bytes);
}

template <>
DeviceMemory::~Memory() {
  if (data_ == nullptr) return;
  const std::lock_guard lock(mutex());
  run_everything();
  emulated::release(data_);
}

namespace {

std::map<const std::byte*, size_t>& pinned() {
  static std::map<const std::byte*, size_t> all;  // bytes by their first
  return all;
}

bool is_pinned(const void* data, size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  auto at = pinned().upper_bound(begin);
  return at != pinned().begin() && begin + bytes <= (--at)->first + at->second;
}

}  // namespace

template <>
PinnedMemory::Memory(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const std::lock_guard lock(mutex());
  data_ = new std::byte[bytes];
  std::memset(data_, emulated::kUnset, bytes);
  pinned().emplace(data_, bytes);
}

template <>
PinnedMemory::~Memory() {
  if (data_ == nullptr) return;
  const std::lock_guard lock(mutex());
  run_everything();
  pinned().erase(data_);
  delete[] data_;
}

Stream::Stream() : state_(std::make_unique<State>()) {
  const std::lock_guard lock(mutex());
  streams().insert(state_.get());
}

Stream::~Stream() {
  const std::lock_guard lock(mutex());
  state_->run_all();
  streams().erase(state_.get());
}

void* native_handle(const Stream& stream) { return const_cast<Stream*>(&stream); }

void Stream::synchronize() const {
  catch_up();
  std::unique_lock lock(mutex());
  if (!state_->work.empty()) hold().wait(lock);
  require_whole();
  if (!state_->work.empty()) ++emulated::waits;
  state_->run_all();
  require_whole();
}

namespace {

// Runs kernels [first, end) with the arguments that they have now.
void enqueue_kernels(const KernelList& list, size_t first, size_t end, const Stream& stream) {
  emulated::require_own_stream(stream);
  emulated::launched += end - first;
  emulated::enqueue(stream, [=] {
    for (size_t i = first; i < end; ++i) {
      const KernelCall& call = list.calls()[i];
      const std::vector<void*> arguments = list.arguments_of(i);
      emulated::run_blocks(call.grid, call.block, call.shared_bytes,
                           [&] { call.call(call.kernel, arguments.data()); });
    }
  });
}

}  // namespace

void put_kernel(const KernelList& list, size_t index, const Stream& stream) {
  enqueue_kernels(list, index, index + 1, stream);
}

struct Graph::State {
  KernelList list;
};

Graph::Graph(const KernelList& list, const Stream& /*stream*/)
    : state_(std::make_unique<State>(list)) {
  if (refuses_graphs) {
    throw Error(ErrorCode::kOutOfMemory, "the device has no memory for the graph of a step");
  }
}
Graph::~Graph() = default;
Graph::Graph(Graph&& other) noexcept = default;

void Graph::change(const KernelList& list, size_t index) {
  state_->list.copy_arguments(list, index);
}

void Graph::launch(const Stream& stream) const {
  enqueue_kernels(state_->list, 0, state_->list.calls().size(), stream);
}

struct DevicePool::State {
  int device;
};

DevicePool::DevicePool(int device) : state_(std::make_unique<State>(device)) { use_device(device); }
DevicePool::~DevicePool() = default;

std::byte* DevicePool::take(size_t bytes, const Stream& stream) {
  const std::lock_guard lock(mutex());
  if (emulated::free_bytes() < bytes) stream.synchronize();  // what was given back
  std::byte* data = emulated::allocate(bytes, state_->device);
  if (data == nullptr) refuse_memory(bytes);
  return data;
}

void DevicePool::give_back(std::byte* data, const Stream& stream) {
  const std::lock_guard lock(mutex());
  stream.state().work.push_back({[data] { emulated::release(data); }, true});
}

Event::Event() : state_(std::make_unique<State>()) {}

Event::~Event() = default;

void Event::record(const Stream& stream) {
  stream.catch_up();
  const std::lock_guard lock(mutex());
  require_whole();
  state_->stream = &stream.state();
  state_->asked = 0;
  emulated::enqueue(stream, [done = state_->done, turn = ++state_->recorded] { *done = turn; });
}

void Event::make_wait(const Stream& stream) const {
  stream.catch_up();
  const std::lock_guard lock(mutex());
  if (state_->reached()) return;
  emulated::enqueue(stream, [done = state_->done, turn = state_->recorded, on = state_->stream] {
    const auto reached = [&] { return *done >= turn; };
    if (!reached()) on->run(reached);
    SMORE_CHECK(reached(), "streams wait for each other");
  });
}

// A device gets on though nobody waits: who asks again finds that it has.
bool Event::reached() const {
  const std::lock_guard lock(mutex());
  require_whole();
  if (!state_->reached() && !hold().holds() && state_->asked++ > 0) synchronize();
  return state_->reached();
}

void Event::synchronize() const {
  std::unique_lock lock(mutex());
  if (!state_->reached()) hold().wait(lock);
  require_whole();
  if (state_->reached()) return;
  ++emulated::waits;
  state_->stream->run([this] { return state_->reached(); });
  require_whole();
}

namespace {

// CUDA copies from and to what is not page-locked by a detour, for which the host waits.
void require_host(const void* data, size_t bytes) {
  emulated::require_on_host(data, bytes);
  const std::lock_guard lock(mutex());
  if (!is_pinned(data, bytes)) ++emulated::detours;
}

}  // namespace

void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream) {
  stream.catch_up();
  copy_ahead(to, from, bytes, stream);
}

void copy_ahead(void* to, const void* from, size_t bytes, const Stream& stream) {
  emulated::require_on_device(to, bytes, stream.state().device);
  require_host(from, bytes);
  emulated::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream) {
  stream.catch_up();
  require_host(to, bytes);
  emulated::require_on_device(from, bytes, stream.state().device);
  emulated::bytes_to_host += bytes;
  emulated::enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

void fill_bytes(void* to, int value, size_t bytes, const Stream& stream) {
  stream.catch_up();
  emulated::require_on_device(to, bytes, stream.state().device);
  emulated::enqueue(stream, [=] { std::memset(to, value, bytes); });
}

}  // namespace smore::cuda
