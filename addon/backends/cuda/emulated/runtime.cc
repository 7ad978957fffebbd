#include "backends/cuda/runtime.h"

#include <algorithm>
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

// What was made on a device, which the thread must have chosen where it goes.
struct Made {
  Made() = default;
  ~Made() { SMORE_CHECK(device == emulated::current_device, "a thread has not chosen its device"); }
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;

  const int device = emulated::current_device;
};

struct Stream::State : Made {
  State();
  ~State();

  struct Item {
    std::function<void()> work;
    bool always = false;  // by a device that has failed too: memory goes back, nobody waits longer
    const std::byte* host = nullptr;  // memory of the host that it copies from or to
    size_t host_bytes = 0;
  };
  std::deque<Item> work;

  // An item may wait for another stream, but not for this one: it stands before what it waits for.
  // A device that has failed does nothing any more: the host's memory may have gone since.
  void run(const std::function<bool()>& enough) {
    const emulated::OpenMemory opened;
    while (!enough() && !work.empty()) {
      const Item next = std::move(work.front());
      work.pop_front();
      if (!broken || next.always) next.work();
    }
  }
  void run_all() {
    run([] { return false; });
  }
};

// What a thread asks of a device that it has not chosen CUDA does, or refuses, by the first one.
void require_chosen(const Made& made) {
  SMORE_CHECK(made.device == emulated::current_device, "a thread has chosen another device");
}

// Records are counted: a wait is for the last one before it.
struct Event::State : Made {
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

// Whether a copy that is under way needs this memory of the host.
bool copies_host(const std::byte* begin, size_t bytes) {
  const auto needs = [&](const Stream::State::Item& item) {
    return item.host < begin + bytes && begin < item.host + item.host_bytes;
  };
  return std::any_of(streams().begin(), streams().end(), [&](const Stream::State* stream) {
    return std::any_of(stream->work.begin(), stream->work.end(), needs);
  });
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

BrokenDevice::~BrokenDevice() {
  const std::lock_guard lock(mutex());
  run_everything();  // which drops it
  broken = false;
}

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

void require_own_stream(const Stream& stream) { require_chosen(stream.state()); }

void enqueue(const Stream& stream, std::function<void()> work) {
  const std::lock_guard lock(mutex());
  require_chosen(stream.state());
  require_whole();
  stream.state().work.push_back({.work = std::move(work)});
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

int current_device() { return emulated::current_device; }

void return_to_device(int device) noexcept { emulated::current_device = device; }

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
std::byte* DeviceMemory::take(size_t bytes) {
  const std::lock_guard lock(mutex());
  std::byte* data = emulated::allocate(bytes, emulated::current_device);
  if (data == nullptr) refuse_memory(bytes);
  return data;
}

template <>
void DeviceMemory::give_back(std::byte* data) noexcept {
  const std::lock_guard lock(mutex());
  run_everything();
  emulated::require_on_device(data, 1, emulated::current_device);
  emulated::release(data);
}

namespace {

struct Pinned {
  size_t bytes;
  int device;
};

std::map<const std::byte*, Pinned>& pinned() {
  static std::map<const std::byte*, Pinned> all;  // by their first byte
  return all;
}

bool is_pinned(const void* data, size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  auto at = pinned().upper_bound(begin);
  return at != pinned().begin() && begin + bytes <= (--at)->first + at->second.bytes;
}

}  // namespace

template <>
std::byte* PinnedMemory::take(size_t bytes) {
  const std::lock_guard lock(mutex());
  auto* data = new std::byte[bytes];
  std::memset(data, emulated::kUnset, bytes);
  pinned().emplace(data, Pinned{bytes, emulated::current_device});
  return data;
}

// CUDA does not say that it waits for copies.
template <>
void PinnedMemory::give_back(std::byte* data) noexcept {
  const std::lock_guard lock(mutex());
  const auto found = pinned().find(data);
  SMORE_CHECK(found->second.device == emulated::current_device, "another device's memory goes");
  if (broken) run_everything();  // likewise
  SMORE_CHECK(!copies_host(data, found->second.bytes), "memory goes that is being copied");
  pinned().erase(found);
  delete[] data;
}

Stream::State::State() {
  const std::lock_guard lock(mutex());
  streams().insert(this);
}

Stream::State::~State() {
  const std::lock_guard lock(mutex());
  run_all();
  streams().erase(this);
}

Stream::Stream() : state_(std::make_unique<State>()) {}
Stream::~Stream() = default;

void* native_handle(const Stream& stream) { return const_cast<Stream*>(&stream); }

void Stream::synchronize() const {
  catch_up();
  std::unique_lock lock(mutex());
  require_chosen(*state_);
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

struct Graph::State : Made {
  explicit State(const KernelList& calls) : list(calls) {}

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

struct DevicePool::State : Made {};

DevicePool::DevicePool(int device) : state_(std::make_unique<State>()) {
  SMORE_CHECK(state_->device == device, "a pool of another device");
}
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
  stream.state().work.push_back({.work = [data] { emulated::release(data); }, .always = true});
}

Event::Event() : state_(std::make_unique<State>()) {}

Event::~Event() = default;

void Event::record(const Stream& stream) {
  stream.catch_up();
  const std::lock_guard lock(mutex());
  require_chosen(stream.state());
  require_chosen(*state_);
  require_whole();
  state_->stream = &stream.state();
  state_->asked = 0;
  stream.state().work.push_back(
      {.work = [done = state_->done, turn = ++state_->recorded] { *done = turn; }, .always = true});
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
  require_chosen(*state_);
  require_whole();
  if (!state_->reached() && !hold().holds() && state_->asked++ > 0) synchronize();
  return state_->reached();
}

void Event::synchronize() const {
  std::unique_lock lock(mutex());
  require_chosen(*state_);
  if (!state_->reached()) hold().wait(lock);
  require_whole();
  if (state_->reached()) return;
  ++emulated::waits;
  state_->stream->run([this] { return state_->reached(); });
  require_whole();
}

namespace {

// Between the device and memory of the host, which must be as it was when the copy is made. CUDA
// copies from and to what is not page-locked by a detour, for which the host waits.
void enqueue_copy(const Stream& stream, const void* device, const void* host, size_t bytes,
                  std::function<void()> copy) {
  const std::lock_guard lock(mutex());
  require_chosen(stream.state());
  emulated::require_on_device(device, bytes, stream.state().device);
  emulated::require_on_host(host, bytes);
  if (!is_pinned(host, bytes)) ++emulated::detours;
  require_whole();
  stream.state().work.push_back(
      {.work = std::move(copy), .host = static_cast<const std::byte*>(host), .host_bytes = bytes});
}

}  // namespace

void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream) {
  stream.catch_up();
  copy_ahead(to, from, bytes, stream);
}

void copy_ahead(void* to, const void* from, size_t bytes, const Stream& stream) {
  const auto* begin = static_cast<const std::byte*>(from);
  enqueue_copy(stream, to, from, bytes,
               [to, from, was = std::vector<std::byte>(begin, begin + bytes)] {
                 SMORE_CHECK(std::memcmp(from, was.data(), was.size()) == 0,
                             "memory was written that is being copied");
                 std::memcpy(to, from, was.size());
               });
}

void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream) {
  stream.catch_up();
  emulated::bytes_to_host += bytes;
  enqueue_copy(stream, from, to, bytes, [=] { std::memcpy(to, from, bytes); });
}

void fill_bytes(void* to, int value, size_t bytes, const Stream& stream) {
  stream.catch_up();
  const std::lock_guard lock(mutex());
  emulated::require_on_device(to, bytes, stream.state().device);
  emulated::enqueue(stream, [=] { std::memset(to, value, bytes); });
}

}  // namespace smore::cuda
