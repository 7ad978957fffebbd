#include <doctest/doctest.h>

#include <bit>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/graphs.h"
#include "backends/cuda/staging.h"
#include "core/error.h"
#include "device.h"
#include "tests/refusal.h"

// Steps as graphs: which lists share one, and that none runs with anything but what was listed.

namespace smore::cuda {
namespace {

__global__ void fill_kernel(int* to, int value, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) to[i] = value;
}

__global__ void add_kernel(int* to, const int* from) { to[threadIdx.x] += from[threadIdx.x]; }

// A stream whose kernels go the way of a step's.
struct Listed {
  Stream stream;
  Staging staging{stream};
  KernelList list;
  Graphs graphs{stream};

  void begin() {
    stream.list_kernels(nullptr);
    staging.begin();
    stream.list_kernels(&list, [this] {
      staging.put();
      graphs.put(list);
    });
  }

  std::vector<int> read(const DeviceMemory& memory) {
    std::vector<int> values(memory.bytes() / sizeof(int));
    copy_to_host(values.data(), memory.data(), memory.bytes(), stream);
    stream.synchronize();
    return values;
  }

  // A step of `kernels` launches that leaves their number plus `value` in every place.
  std::vector<int> step(const DeviceMemory& to, int kernels, int value) {
    begin();
    const std::vector<int32_t> ones(32, 1);
    const int32_t* one = staging.upload(std::span<const int32_t>(ones));
    launch(fill_kernel, 1, 32, 0, stream, to.as<int>(), value, 32);
    for (int i = 0; i < kernels; ++i) launch(add_kernel, 1, 32, 0, stream, to.as<int>(), one);
    return read(to);
  }
};

// Calls that count their threads, of a grid each, in `to`.
KernelList counting(const std::vector<KernelCall>& calls, int* to) {
  KernelList list;
  for (KernelCall call : calls) {
    call.call = [](const void*, void* const* arguments) { ++**static_cast<int**>(arguments[0]); };
    list.add<int*>(call, to);
  }
  return list;
}

std::vector<int> filled(int value) { return std::vector<int>(32, value); }

}  // namespace

TEST_CASE("a list of kernels is put directly once, then as a graph that is made once") {
  Listed steps;
  const DeviceMemory memory(32 * sizeof(int));
  for (int i = 0; i < 5; ++i) CHECK(steps.step(memory, 8, 3) == filled(11));
  const Graphs::Counts& counts = steps.graphs.counts();
  CHECK(counts.direct == 1);
  CHECK(counts.captures == 1);
  CHECK(counts.launches == 4);
  CHECK(counts.updates == 0);
}

TEST_CASE("a graph runs with the arguments of the list that is put, never with those before") {
  Listed steps;
  auto memory = std::make_unique<DeviceMemory>(32 * sizeof(int));
  for (int i = 0; i < 3; ++i) steps.step(*memory, 8, 0);
  const Graphs::Counts& counts = steps.graphs.counts();
  for (int value = 1; value < 4; ++value) {
    CHECK(steps.step(*memory, 8, value) == filled(value + 8));
    CHECK(counts.updates == value);  // the first kernel alone
  }
  // A buffer that grew lies elsewhere; what was its memory is another's now, and stays as it is.
  auto larger = std::make_unique<DeviceMemory>(32 * sizeof(int));
  memory = std::make_unique<DeviceMemory>(32 * sizeof(int));
  fill_bytes(memory->data(), 0, memory->bytes(), steps.stream);
  CHECK(steps.step(*larger, 8, 5) == filled(13));
  CHECK(steps.read(*memory) == filled(0));
  CHECK(counts.updates == 3 + 9);
  CHECK(counts.captures == 1);
}

TEST_CASE("lists of other kernels, grids or numbers of launches have graphs of their own") {
  Listed steps;
  const DeviceMemory memory(32 * sizeof(int));
  for (int round = 0; round < 3; ++round) {
    for (int kernels = 4; kernels < 8; ++kernels) {
      CHECK(steps.step(memory, kernels, round) == filled(round + kernels));
    }
  }
  CHECK(steps.graphs.counts().captures == 4);
  CHECK(steps.graphs.counts().direct == 4);
  CHECK(steps.graphs.counts().launches == 8);
}

TEST_CASE("lists whose hashes are the same by chance have graphs of their own") {
  // As KernelList::hash_of_calls().
  const auto mix = [](uint64_t hash, uint64_t value) {
    return std::rotl((hash ^ value) * 0x9e3779b97f4a7c15u, 29);
  };
  const auto kernel = [](uint64_t value) { return reinterpret_cast<const void*>(value); };
  KernelCall call;
  call.kernel = kernel(1);
  call.shared_bytes = 16;
  const std::vector<KernelCall> first(4, call);
  std::vector<KernelCall> second = first;
  second[0].grid.x = 2;
  uint64_t hashes[2] = {first.size(), second.size()};
  for (const int i : {0, 1}) {
    for (const int value : {1, i + 1, 1, 1, 1, 1, 1, 16}) hashes[i] = mix(hashes[i], value);
  }
  second[1].kernel = kernel(1 ^ hashes[0] ^ hashes[1]);
  int threads = 0;
  const KernelList one = counting(first, &threads), other = counting(second, &threads);
  REQUIRE(one.hash_of_calls() == other.hash_of_calls());
  const Stream stream;
  Graphs graphs(stream);
  const auto put = [&](const KernelList& list) {
    threads = 0;
    graphs.put(list);
    stream.synchronize();
    return threads;
  };
  for (int i = 0; i < 3; ++i) {
    CHECK(put(one) == 4);
    CHECK(put(other) == 5);
  }
  CHECK(graphs.counts().captures == 2);
}

TEST_CASE("few kernels are no graph, and graphs that are not used make room for others") {
  Listed steps;
  const DeviceMemory memory(32 * sizeof(int));
  for (int i = 0; i < 4; ++i) CHECK(steps.step(memory, 1, i) == filled(i + 1));
  CHECK(steps.graphs.counts().captures == 0);
  const auto most = static_cast<int>(Graphs::kMostGraphs);
  for (int kernels = 4; kernels < 4 + most; ++kernels) {
    for (int i = 0; i < 2; ++i) steps.step(memory, kernels, 0);
  }
  CHECK(steps.graphs.counts().captures == most);
  steps.step(memory, 4, 0);  // the oldest one is used
  for (int i = 0; i < 2; ++i) steps.step(memory, 4 + most, 0);
  CHECK(steps.graphs.counts().captures == most + 1);
  CHECK(steps.step(memory, 4, 7) == filled(11));
  CHECK(steps.graphs.counts().captures == most + 1);  // and stayed
}

TEST_CASE("a graph that makes room for another may be running: nobody waits for its end") {
  Listed steps;
  const DeviceMemory memory(32 * sizeof(int));
  const auto most = static_cast<int>(Graphs::kMostGraphs);
  const auto put = [&](int kernels) {
    for (int i = 1; i <= kernels; ++i) {
      launch(fill_kernel, 1, 32, 0, steps.stream, memory.as<int>(), i, 32);
    }
    steps.stream.catch_up();
  };
  steps.begin();
  const uint64_t waits = emulated::waits;
  for (int kernels = 4; kernels <= 4 + most; ++kernels) put(kernels), put(kernels);
  CHECK(steps.graphs.counts().captures == most + 1);
  CHECK(emulated::waits == waits);
  put(4), put(4);  // its graph has gone
  CHECK(steps.graphs.counts().captures == most + 2);
  CHECK(steps.read(memory) == filled(4));
}

TEST_CASE("a list for whose graph there is no memory is put kernel by kernel until there is") {
  Listed steps;
  const DeviceMemory memory(32 * sizeof(int));
  const Graphs::Counts& counts = steps.graphs.counts();
  for (int i = 0; i < 2; ++i) steps.step(memory, 4, 0), steps.step(memory, 5, 0);
  CHECK(counts.captures == 2);
  {
    const emulated::RefusedGraphs refused;
    for (int value = 0; value < 2; ++value)
      CHECK(steps.step(memory, 8, value) == filled(value + 8));
    CHECK(counts.captures == 2);
    CHECK(counts.direct == 4);
    CHECK(steps.step(memory, 5, 3) == filled(8));  // has its graph
    CHECK(counts.direct == 4);
    CHECK(steps.step(memory, 4, 3) == filled(7));  // made room
    CHECK(counts.direct == 5);
  }
  CHECK(steps.step(memory, 8, 7) == filled(15));
  CHECK(counts.captures == 3);
}

TEST_CASE("what is asked of a stream comes after the kernels that are listed") {
  Listed steps;
  const Stream other;
  const DeviceMemory memory(32 * sizeof(int));
  const DeviceMemory copied(32 * sizeof(int));
  steps.begin();
  launch(fill_kernel, 1, 32, 0, steps.stream, memory.as<int>(), 4, 32);
  bool put = false;
  steps.stream.when_put([&] { put = true; });
  CHECK_FALSE(put);
  Event filled_once;
  filled_once.record(steps.stream);
  CHECK(put);
  filled_once.make_wait(other);
  fill_bytes(copied.data(), 0, copied.bytes(), other);
  launch(add_kernel, 1, 32, 0, other, copied.as<int>(), memory.as<const int>());
  other.synchronize();
  CHECK(steps.read(copied) == filled(4));
  launch(fill_kernel, 1, 32, 0, steps.stream, memory.as<int>(), 6, 32);  // the list goes on
  fill_bytes(memory.data(), 0, 4, steps.stream);
  std::vector<int> want = filled(6);
  want[0] = 0;
  CHECK(steps.read(memory) == want);
  put = false;
  steps.stream.when_put([&] { put = true; });
  CHECK(put);  // nothing is listed
}

TEST_CASE(
    "arrays of a step stay where they are while it goes on, also when they outgrow the rest") {
  Listed steps;
  std::mt19937 random(7);
  for (int step = 0; step < 12; ++step) {
    CAPTURE(step);
    if (step % 3 != 2) steps.begin();  // else the arrays come at once
    if (step % 3 == 2) steps.stream.list_kernels(nullptr), steps.staging.begin();
    std::vector<std::vector<int32_t>> arrays;
    std::vector<const int32_t*> placed;
    for (int i = 0; i < 6; ++i) {
      std::vector<int32_t> values(1 + random() % (size_t{1} << (4 + step)));
      std::iota(values.begin(), values.end(), static_cast<int32_t>(random() % 1000));
      placed.push_back(steps.staging.upload(std::span<const int32_t>(values)));
      arrays.push_back(std::move(values));
    }
    const DeviceMemory sum(32 * sizeof(int));
    launch(fill_kernel, 1, 32, 0, steps.stream, sum.as<int>(), 0, 32);
    for (size_t i = 0; i < arrays.size(); ++i) {
      std::vector<int32_t> read(arrays[i].size());
      copy_to_host(read.data(), placed[i], read.size() * sizeof(int32_t), steps.stream);
      steps.stream.synchronize();
      CHECK(read == arrays[i]);
    }
    CHECK(steps.read(sum) == filled(0));
  }
}

TEST_CASE("an upload that is refused memory leaves nothing half grown") {
  const Stream stream;
  Staging staging(stream);
  std::vector<int32_t> values(1000);
  for (int growth = 0; growth < 2; ++growth) {
    std::iota(values.begin(), values.end(), growth);
    {
      const emulated::RefusedAllocation refusal(0);
      check_refused(ErrorCode::kOutOfMemory, "the device has no",
                    [&] { staging.upload(std::span<const int32_t>(values)); });
    }
    for (int turn = 0; turn < 8; ++turn) {
      staging.begin();
      const int32_t* placed = staging.upload(std::span<const int32_t>(values));
      std::vector<int32_t> read(values.size());
      copy_to_host(read.data(), placed, read.size() * sizeof(int32_t), stream);
      stream.synchronize();
      CHECK(read == values);
    }
    values.resize(100000);
  }
}

TEST_CASE("buckets hold what they are for, with a quarter more at most") {
  for (size_t count = 0; count < 5000; ++count) {
    const size_t bucket = bucket_of(count);
    CHECK(bucket >= count);
    CHECK(bucket <= count + std::max<size_t>(count, 1) / 4 + 1);
    CHECK(bucket_of(bucket) == bucket);
  }
}

TEST_CASE("memory that was given back to a pool is used again only behind its last use") {
  const Stream stream;
  DevicePool pool(0);
  for (int i = 0; i < 5; ++i) {
    std::byte* block = pool.take(size_t{700} << 20, stream);
    launch(fill_kernel, 1, 32, 0, stream, reinterpret_cast<int*>(block), i, 32);
    pool.give_back(block, stream);  // before the kernel has run
  }
  stream.synchronize();
  const emulated::RefusedAllocation refusal(0);
  check_refused(ErrorCode::kOutOfMemory, "the device has no", [&] { pool.take(64, stream); });
}

}  // namespace smore::cuda
