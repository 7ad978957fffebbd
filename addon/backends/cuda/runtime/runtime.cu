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
  throw Error(ErrorCode::kDevice, std::string("CUDA: ") + what + ": " + cudaGetErrorString(result));
}

void check_memory(cudaError_t result, const char* where, size_t bytes) {
  if (result != cudaErrorMemoryAllocation) return check(result, "allocation");
  cudaGetLastError();  // else the next launch would be blamed for it
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  throw Error(ErrorCode::kOutOfMemory, std::string(where) + " has no " + memory_text(bytes) +
                                           " in one piece; " + memory_text(free) + " of " +
                                           memory_text(total) + " of the device are free");
}

}  // namespace

struct Stream::State {
  cudaStream_t handle = nullptr;
};

struct Event::State {
  cudaEvent_t handle = nullptr;
};

DeviceList list_devices() {
  DeviceList list;
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess) {
    cudaGetLastError();  // else the next launch would be blamed for it
    list.fault = cudaGetErrorString(result);
  }
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp found;
    check(cudaGetDeviceProperties(&found, device), "properties of the device");
    int mode = cudaComputeModeDefault;
    check(cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, device), "mode of the device");
    list.refusals.push_back(mode == cudaComputeModeProhibited
                                ? std::string(found.name) + " is in compute mode \"prohibited\""
                                : refused_capability(found.name, found.major, found.minor));
  }
  return list;
}

void use_device(int device) { check(cudaSetDevice(device), "choice of the device"); }

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

// The destructors below ignore what CUDA answers: it repeats the error of a device that has failed,
// which was thrown where it was found.

template <>
DeviceMemory::Memory(size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  if (bytes > 0) check_memory(cudaMalloc(&data, bytes), "the device", bytes);
  data_ = static_cast<std::byte*>(data);
}

template <>
DeviceMemory::~Memory() {
  cudaFree(data_);
}

template <>
PinnedMemory::Memory(size_t bytes) : bytes_(bytes) {
  void* data = nullptr;
  if (bytes > 0) check_memory(cudaMallocHost(&data, bytes), "pinned host memory", bytes);
  data_ = static_cast<std::byte*>(data);
}

template <>
PinnedMemory::~Memory() {
  cudaFreeHost(data_);
}

Stream::Stream() : state_(std::make_unique<State>()) {
  check(cudaStreamCreateWithFlags(&state_->handle, cudaStreamNonBlocking), "new stream");
}

Stream::~Stream() { cudaStreamDestroy(state_->handle); }

void Stream::synchronize() const { check(cudaStreamSynchronize(state_->handle), "work of a step"); }

cudaStream_t stream_handle(const Stream& stream) { return stream.state().handle; }

void check_launch() { check(cudaGetLastError(), "launch of a kernel"); }

Event::Event() : state_(std::make_unique<State>()) {
  check(cudaEventCreateWithFlags(&state_->handle, cudaEventDisableTiming), "new event");
}

Event::~Event() { cudaEventDestroy(state_->handle); }

void Event::record(const Stream& stream) {
  check(cudaEventRecord(state_->handle, stream_handle(stream)), "record of an event");
}

void Event::make_wait(const Stream& stream) const {
  check(cudaStreamWaitEvent(stream_handle(stream), state_->handle, 0), "wait for an event");
}

bool Event::reached() const {
  const cudaError_t result = cudaEventQuery(state_->handle);
  if (result == cudaErrorNotReady) return false;
  check(result, "query of an event");
  return true;
}

void Event::synchronize() const {
  check(cudaEventSynchronize(state_->handle), "work before an event");
}

void copy_to_device(void* to, const void* from, size_t bytes, const Stream& stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_handle(stream)),
        "copy to the device");
}

void copy_to_host(void* to, const void* from, size_t bytes, const Stream& stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_handle(stream)),
        "copy to the host");
}

void fill_bytes(void* to, int value, size_t bytes, const Stream& stream) {
  check(cudaMemsetAsync(to, value, bytes, stream_handle(stream)), "fill");
}

}  // namespace smore::cuda
