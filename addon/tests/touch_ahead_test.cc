#include "core/touch_ahead.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kv_cache.h"
#include "core/huge_pages.h"

namespace smore {
namespace {

constexpr size_t kMB = size_t{1} << 20;

// Of `size` bytes from `data` on, a whole number of pages, how many the process has.
size_t resident(const uint8_t* data, size_t size) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages(size / page);
  REQUIRE(mincore(const_cast<uint8_t*>(data), size, pages.data()) == 0);
  return page * std::count_if(pages.begin(), pages.end(), [](int bits) { return bits & 1; });
}

// Whether the system, or the emulator of one, has the call at all. Asked of memory that is new for
// sure: an allocation may be of pages that the process has already.
bool system_touches() {
#ifdef MADV_POPULATE_WRITE
  constexpr size_t kSize = 2 * kMB;
  void* fresh = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(fresh != MAP_FAILED);
  const auto* data = static_cast<const uint8_t*>(fresh);
  const bool touched =
      madvise(fresh, kSize, MADV_POPULATE_WRITE) == 0 && resident(data, kSize) == kSize;
  munmap(fresh, kSize);
  return touched;
#else
  return false;
#endif
}

void wait_until_resident(const uint8_t* data, size_t size) {
  for (int i = 0; i < 20000 && resident(data, size) < size; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  CHECK(resident(data, size) == size);
}

}  // namespace

TEST_CASE("memory is there before it is used, unchanged, and no more of it than a while ahead") {
  if (!system_touches()) {
    MESSAGE("not tested: this system does not take memory ahead of its use");
    return;
  }
  const auto memory = huge_bytes(256 * kMB);
  uint8_t* data = memory.get();
  data[5] = 42;
  data[100 * kMB] = 43;
  TouchAhead ahead(memory, 256 * kMB);
  wait_until_resident(data, 64 * kMB);
  CHECK(resident(data + 120 * kMB, 136 * kMB) == 0);
  ahead.used_until(60 * kMB);
  wait_until_resident(data, 124 * kMB);
  ahead.used_until(10 * kMB);  // what is used again is nothing new
  CHECK(resident(data + 140 * kMB, 116 * kMB) == 0);
  ahead.used_until(256 * kMB);
  wait_until_resident(data, 256 * kMB);
  CHECK(data[5] == 42);
  CHECK(data[100 * kMB] == 43);
  CHECK(data[255 * kMB] == 0);
}

TEST_CASE("it ends at once, however much was asked for") {
  for (const size_t size : {size_t{1}, 3 * kMB, 512 * kMB}) {
    TouchAhead ahead(huge_bytes(size), size);
    ahead.used_until(size);
  }
}

TEST_CASE("keys and values are stored where memory is already, from the first layer on") {
  if (!system_touches()) return;
  constexpr int kDim = 256;
  const AttentionShape shape{.heads = 1, .kv_heads = 1, .head_dim = kDim};
  const auto cpu = make_cpu_backend({.threads = 1, .path = "generic"});
  const auto kv = cpu->make_kv_cache(128, shape, 128);
  const size_t page_bytes = kv->page_bytes();
  const auto own = static_cast<const CpuKvCache*>(kv.get());
  REQUIRE(128 * page_bytes >= 200 * kMB);
  ModelConfig config;
  config.head_dim = kDim;
  const auto rotary = cpu->make_rotary(config, 2 * kPageTokens);
  // Two rows of a sequence whose second page is a high one.
  const int high = static_cast<int>(100 * kMB / page_bytes);
  const std::array<int32_t, 2> row_start{0, 2}, row_sequence{0, 0}, block_start{0, 2},
      blocks{0, high}, positions{kPageTokens - 1, kPageTokens};
  const int32_t context = kPageTokens - 1;
  AttentionStep step{.rows = 2,
                     .sequences = 1,
                     .row_start = row_start.data(),
                     .row_sequence = row_sequence.data(),
                     .context = &context,
                     .block_start = block_start.data(),
                     .blocks = blocks.data(),
                     .positions = positions.data()};
  std::vector<float> qkv(2 * 3 * kDim, 1.0f);
  wait_until_resident(own->keys(0, 0, 0), 64 * kMB);
  cpu->rotate_and_store(*kv, 0, shape, *rotary, step, nullptr, nullptr, 1e-6f, qkv.data());
  wait_until_resident(own->keys(0, 0, 0), 160 * kMB);
}

}  // namespace smore
