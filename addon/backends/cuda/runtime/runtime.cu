#include <cuda_runtime.h>

#include "backends/cuda/capability.h"
#include "backends/cuda/runtime.h"
#include "core/error.h"
#include "core/memory_text.h"
#include "device.h"

namespace smore::cuda {
namespace {

void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // else the thread's next launch would be blamed for it
  throw Error(ErrorCode::kDevice, std::string("CUDA: ") + what + ": " + cudaGetErrorString(result));
}

void check_memory(cudaError_t result, size_t bytes) {
  if (result != cudaErrorMemoryAllocation) return check(result, "allocation");
  cudaGetLastError();  // likewise
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  throw Error(ErrorCode::kOutOfMemory, "the device has no " + memory_text(bytes) +
                                           " in one piece; " + memory_text(free) + " of " +
                                           memory_text(total) + " of the device are free");
}

}  // namespace

// Destructors ignore what CUDA answers: it repeats the error of a device that has failed, which was
// thrown where it was found.

struct Event::State {
  ~State() {
    if (handle != nullptr) cudaEventDestroy(handle);
  }

  cudaEvent_t handle = nullptr;
};

struct Stream::State {
  ~State() {
    if (handle != nullptr) cudaStreamDestroy(handle);
  }

  cudaStream_t handle = nullptr;
  Event passed;  // by whoever waits for the stream
};

namespace {

// Of one that is broken too: the others can be used.
std::string refusal_of(int device) {
  cudaDeviceProp found;
  int mode = cudaComputeModeDefault;
  cudaError_t result = cudaGetDeviceProperties(&found, device);
  if (result == cudaSuccess) {
    result = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, device);
  }
  if (result != cudaSuccess) {
    cudaGetLastError();  // else the thread's next launch would be blamed for it
    return cudaGetErrorString(result);
  }
  if (mode == cudaComputeModeProhibited) {
    return std::string(found.name) + " is in compute mode \"prohibited\"";
  }
  return refused_capability(found.name, found.major, found.minor);
}

// 13020 is 13.2.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// CUDA calls a driver that is not there one that is too old.
std::string fault_of(cudaError_t result) {
  int driver = 0;
  if (result != cudaErrorInsufficientDriver || cudaDriverGetVersion(&driver) != cudaSuccess) {
    return cudaGetErrorString(result);
  }
  if (driver == 0) return "there is no NVIDIA driver";
  return "the NVIDIA driver serves CUDA up to " + version_text(driver) + ", this build wants " +
         version_text(CUDART_VERSION);
}

}  // namespace

DeviceList list_devices() {
  DeviceList list;
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess) {
    cudaGetLastError();  // else the thread's next launch would be blamed for it
    list.fault = fault_of(result);
  }
  for (int device = 0; device < count; ++device) {
    list.refusals.push_back(refusal_of(device));
  }
  return list;
}

void use_device(int device) { check(cudaSetDevice(device), "choice of the device"); }

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "device of a thread");
  return device;
}

void return_to_device(int device) noexcept { cudaSetDevice(device); }

DeviceFacts device_facts(int device) {
  use_device(device);
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, device), "properties of the device");
  DeviceFacts facts{.name = found.name,
                    .major = found.major,
                    .minor = found.minor,
                    .processors = found.multiProcessorCount,
                    .total_memory = 0,
                    .free_memory = 0};
  check(cudaMemGetInfo(&facts.free_memory, &facts.total_memory), "memory of the device");
  return facts;
}

template <>
std::byte* DeviceMemory::take(size_t bytes) {
  void* data = nullptr;
  check_memory(cudaMalloc(&data, bytes), bytes);
  return static_cast<std::byte*>(data);
}

template <>
void DeviceMemory::give_back(std::byte* data) noexcept {
  cudaFree(data);
}

template <>
std::byte* PinnedMemory::take(size_t bytes) {
  void* data = nullptr;
  const cudaError_t result = cudaMallocHost(&data, bytes);
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the thread's next launch would be blamed for it
    throw Error(ErrorCode::kOutOfMemory,
                "the host has no " + memory_text(bytes) + " of memory that can be page-locked");
  }
  check(result, "page-locked memory of the host");
  return static_cast<std::byte*>(data);
}

template <>
void PinnedMemory::give_back(std::byte* data) noexcept {
  cudaFreeHost(data);
}

Stream::Stream() : state_(std::make_unique<State>()) {
  check(cudaStreamCreateWithFlags(&state_->handle, cudaStreamNonBlocking), "new stream");
}

Stream::~Stream() = default;

// Sleeps, where cudaStreamSynchronize() would ask again and again. Another thread that waits too
// has the event recorded anew: then both wait for that.
void Stream::synchronize() const {
  state_->passed.record(*this);
  state_->passed.synchronize();
}

cudaStream_t stream_handle(const Stream& stream) { return stream.state().handle; }

void* native_handle(const Stream& stream) { return stream_handle(stream); }

void check_launch() { check(cudaGetLastError(), "launch of a kernel"); }

namespace {

dim3 to_dim3(const Extent& extent) { return dim3(extent.x, extent.y, extent.z); }

cudaKernelNodeParams node_of(const KernelCall& call, void** arguments) {
  cudaKernelNodeParams node{};
  node.func = const_cast<void*>(call.kernel);
  node.gridDim = to_dim3(call.grid);
  node.blockDim = to_dim3(call.block);
  node.sharedMemBytes = static_cast<unsigned>(call.shared_bytes);
  node.kernelParams = arguments;
  return node;
}

}  // namespace

void put_kernel(const KernelList& list, size_t index, const Stream& stream) {
  const KernelCall& call = list.calls()[index];
  check(cudaLaunchKernel(call.kernel, to_dim3(call.grid), to_dim3(call.block),
                         list.arguments_of(index).data(), call.shared_bytes, stream_handle(stream)),
        "launch of a kernel");
}

struct Graph::State {
  ~State() {
    if (ready != nullptr) cudaGraphExecDestroy(ready);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  std::vector<cudaGraphNode_t> nodes;  // each after the one before it
};

Graph::Graph(const KernelList& list, const Stream& stream) : state_(std::make_unique<State>()) {
  check(cudaGraphCreate(&state_->graph, 0), "new graph");
  for (size_t i = 0; i < list.calls().size(); ++i) {
    std::vector<void*> arguments = list.arguments_of(i);
    const cudaKernelNodeParams node = node_of(list.calls()[i], arguments.data());
    cudaGraphNode_t added = nullptr;
    check(cudaGraphAddKernelNode(&added, state_->graph, i > 0 ? &state_->nodes.back() : nullptr,
                                 i > 0 ? 1 : 0, &node),
          "kernel of a graph");
    state_->nodes.push_back(added);
  }
  // Its memory on the device is taken here, not by its first launch.
  cudaError_t result = cudaGraphInstantiate(&state_->ready, state_->graph, 0);
  if (result == cudaSuccess) result = cudaGraphUpload(state_->ready, stream_handle(stream));
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the thread's next launch would be blamed for it
    throw Error(ErrorCode::kOutOfMemory, "the device has no memory for the graph of a step");
  }
  check(result, "graph of a step");
}

Graph::~Graph() = default;
Graph::Graph(Graph&& other) noexcept = default;

void Graph::change(const KernelList& list, size_t index) {
  std::vector<void*> arguments = list.arguments_of(index);
  const cudaKernelNodeParams node = node_of(list.calls()[index], arguments.data());
  check(cudaGraphExecKernelNodeSetParams(state_->ready, state_->nodes[index], &node),
        "new arguments of a graph");
}

void Graph::launch(const Stream& stream) const {
  check(cudaGraphLaunch(state_->ready, stream_handle(stream)), "launch of a step's graph");
}

struct DevicePool::State {
  ~State() {
    if (handle != nullptr) cudaMemPoolDestroy(handle);
  }

  cudaMemPool_t handle = nullptr;
};

DevicePool::DevicePool(int device) : state_(std::make_unique<State>()) {
  cudaMemPoolProps wanted{};
  wanted.allocType = cudaMemAllocationTypePinned;
  wanted.location.type = cudaMemLocationTypeDevice;
  wanted.location.id = device;
  check(cudaMemPoolCreate(&state_->handle, &wanted), "new pool of memory");
  uint64_t kept = UINT64_MAX;  // what is free stays here
  check(cudaMemPoolSetAttribute(state_->handle, cudaMemPoolAttrReleaseThreshold, &kept),
        "threshold of a pool of memory");
}

DevicePool::~DevicePool() = default;

std::byte* DevicePool::take(size_t bytes, const Stream& stream) {
  void* data = nullptr;
  const auto try_once = [&] {
    return cudaMallocFromPoolAsync(&data, bytes, state_->handle, stream_handle(stream));
  };
  cudaError_t result = try_once();
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // else the thread's next launch would be blamed for it
    stream.synchronize();
    cudaMemPoolTrimTo(state_->handle, 0);  // pieces of other sizes
    result = try_once();
  }
  check_memory(result, bytes);
  return static_cast<std::byte*>(data);
}

void DevicePool::give_back(std::byte* data, const Stream& stream) {
  cudaFreeAsync(data, stream_handle(stream));
}

Event::Event() : state_(std::make_unique<State>()) {
  check(cudaEventCreateWithFlags(&state_->handle, cudaEventDisableTiming | cudaEventBlockingSync),
        "new event");
}

Event::~Event() = default;

void Event::record(const Stream& stream) {
  stream.catch_up();
  check(cudaEventRecord(state_->handle, stream_handle(stream)), "record of an event");
}

void Event::make_wait(const Stream& stream) const {
  stream.catch_up();
  check(cudaStreamWaitEvent(stream_handle(stream), state_->handle, 0), "wait for an event");
}

bool Event::reached() const {
  const cudaError_t result = cudaEventQuery(state_->handle);
  if (result == cudaErrorNotReady) {
    cudaGetLastError();  // else the thread's next launch would be blamed for it
    return false;
  }
  check(result, "query of an event");
  return true;
}

void Event::synchronize() const { check(cudaEventSynchronize(state_->handle), "work of a step"); }

void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream) {
  stream.catch_up();
  copy_ahead(to, from, bytes, stream);
}

void copy_ahead(void* to, const void* from, size_t bytes, const Stream& stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_handle(stream)),
        "copy to the device");
}

void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream) {
  stream.catch_up();
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_handle(stream)),
        "copy to the host");
}

void fill_bytes(void* to, int value, size_t bytes, const Stream& stream) {
  stream.catch_up();
  check(cudaMemsetAsync(to, value, bytes, stream_handle(stream)), "fill");
}

}  // namespace smore::cuda
