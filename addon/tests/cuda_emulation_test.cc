#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "backends/cuda/runtime.h"
#include "core/error.h"
#include "device.h"

namespace smore::cuda {
namespace {

// What the tests of the device trust: the emulator itself.

template <class T>
DeviceMemory on_device(const std::vector<T>& values, const Stream& stream) {
  DeviceMemory memory(values.size() * sizeof(T));
  copy_to_device(memory.data(), values.data(), memory.bytes(), stream);
  stream.synchronize();
  return memory;
}

template <class T>
std::vector<T> on_host(const DeviceMemory& memory, const Stream& stream) {
  std::vector<T> values(memory.bytes() / sizeof(T));
  copy_to_host(values.data(), memory.data(), memory.bytes(), stream);
  stream.synchronize();
  return values;
}

__global__ void reverse_block(int* values) {
  int* shared = reinterpret_cast<int*>(shared_memory());
  const unsigned i = threadIdx.x;
  int* own = values + blockIdx.x * blockDim.x;
  shared[i] = own[i];
  __syncthreads();
  own[i] = shared[blockDim.x - 1 - i];
}

TEST_CASE("a barrier lets every thread of a block see what the others wrote") {
  const Stream stream;
  std::vector<int> values(3 * 96);
  std::iota(values.begin(), values.end(), 0);
  const DeviceMemory memory = on_device(values, stream);
  launch(reverse_block, 3, 96, 96 * sizeof(int), stream, memory.as<int>());
  for (int block = 0; block < 3; ++block) {
    std::reverse(values.begin() + block * 96, values.begin() + (block + 1) * 96);
  }
  CHECK(on_host<int>(memory, stream) == values);
}

constexpr int kNothing = -1;  // what fresh memory holds

// Both lack a barrier: before what another warp writes is read, and after.
__global__ void read_too_early(int* seen) {
  __shared__ int written[64];
  const int first = static_cast<int>(blockIdx.x) * 64;
  const int thread = static_cast<int>(threadIdx.x);
  written[thread] = first + thread;
  seen[first + thread] = written[63 - thread];
}

__global__ void write_too_early(int* seen) {
  __shared__ int written[64];
  written[threadIdx.x] = 1;
  __syncthreads();
  const int other = written[63 - threadIdx.x];
  written[threadIdx.x] = 2;
  seen[blockIdx.x * 64 + threadIdx.x] = written[63 - threadIdx.x] + other;
}

TEST_CASE("threads that lack a barrier see what was there before, warps before and behind them") {
  const Stream stream;
  constexpr int kBlocks = 8, kValues = kBlocks * 64;
  const DeviceMemory memory(kValues * sizeof(int));
  launch(read_too_early, kBlocks, 64, 0, stream, memory.as<int>());
  const std::vector<int> early = on_host<int>(memory, stream);
  for (const int thread : {0, 63}) {
    int missed = 0;
    for (int block = 0; block < kBlocks; ++block) {
      missed += early[block * 64 + thread] != block * 64 + 63 - thread ? 1 : 0;
    }
    CHECK(missed > 0);
    CHECK(missed < kBlocks);
  }
  launch(write_too_early, kBlocks, 64, 0, stream, memory.as<int>());
  const std::vector<int> sums = on_host<int>(memory, stream);
  CHECK(std::count(sums.begin(), sums.end(), 4) > 0);  // the other one had gone on
  CHECK(std::count(sums.begin(), sums.end(), 2) > 0);
}

__global__ void tell_shared(int* seen) {
  __shared__ int kept;
  seen[blockIdx.x] = kept;
  kept = 5;
}

TEST_CASE("what a block left in shared memory is not there in the next one") {
  const Stream stream;
  const DeviceMemory seen(2 * sizeof(int));
  for (int i = 0; i < 2; ++i) {
    launch(tell_shared, 2, 1, 0, stream, seen.as<int>());
    CHECK(on_host<int>(seen, stream) == std::vector<int>(2, kNothing));
  }
}

__global__ void sum_of_lanes(const int* values, int* sums) {
  int value = values[threadIdx.x];
  for (int bits = 16; bits > 0; bits /= 2) value += __shfl_xor_sync(0xffffffffu, value, bits);
  const unsigned odd = __ballot_sync(0xffffffffu, value % 2);
  const int first = __shfl_sync(0xffffffffu, values[threadIdx.x], 0);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value + (odd != 0 ? 1000 : 0) + first;
}

TEST_CASE("lanes of a warp exchange values, and warps do not meet") {
  const Stream stream;
  std::vector<int> values(64, 1);
  values[40] = 2;
  const DeviceMemory memory = on_device(values, stream);
  const DeviceMemory sums(2 * sizeof(int));
  launch(sum_of_lanes, 1, 64, 0, stream, memory.as<int>(), sums.as<int>());
  CHECK(on_host<int>(sums, stream) == std::vector<int>{32 + 1, 33 + 1000 + 1});
}

__global__ void add_one(int* value) { *value += 1; }

TEST_CASE("a stream works in order and only when somebody waits, and events order streams") {
  const Stream first, second;
  const DeviceMemory memory = on_device(std::vector<int>{5}, first);
  PinnedMemory seen(sizeof(int));
  *seen.as<int>() = 0;
  Event added, copied;
  CHECK(added.reached());
  launch(add_one, 1, 1, 0, first, memory.as<int>());
  added.record(first);
  CHECK(!added.reached());
  added.make_wait(second);
  copy_to_host(seen.data(), memory.data(), sizeof(int), second);
  copied.record(second);
  CHECK(*seen.as<int>() == 0);
  copied.synchronize();
  CHECK(added.reached());
  CHECK(*seen.as<int>() == 6);
}

TEST_CASE("memory that the device does not have is refused with the numbers") {
  CHECK_THROWS_WITH_AS(DeviceMemory(size_t{1} << 40),
                       doctest::Contains("the device has no 1024 GiB in one piece"), Error);
}

}  // namespace
}  // namespace smore::cuda
