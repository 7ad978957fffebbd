#include "backends/cuda/emulated/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>

#include "backends/cuda/emulated/faults.h"
#include "core/check.h"

namespace smore::cuda::emulated {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kFence = 256;  // bytes after a block

struct Piece {
  size_t bytes;  // asked for
  int device;
};

struct Memory {
  Memory() {
    void* mapped =
        mmap(nullptr, kMemoryBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    SMORE_CHECK(mapped != MAP_FAILED, "no address space for the emulated device");
    madvise(mapped, kMemoryBytes, MADV_HUGEPAGE);  // opening and closing takes time for every page
    base = static_cast<std::byte*>(mapped);
  }

  std::byte* base = nullptr;
  int open = 0;                    // how many OpenMemory live
  std::map<size_t, Piece> blocks;  // by offset
};

Memory& memory() {
  static Memory the;
  return the;
}

void protect(int protection) {
  SMORE_CHECK(mprotect(memory().base, kMemoryBytes, protection) == 0,
              "the emulated device's memory cannot be opened");
}

size_t taken(size_t bytes) { return (bytes + kFence + kAlignment - 1) / kAlignment * kAlignment; }

// So that pages that were touched once are not opened and closed ever after.
void give_back(size_t offset, size_t bytes) {
  constexpr size_t kPage = 4096;
  const size_t begin = (offset + kPage - 1) / kPage * kPage;
  const size_t end = (offset + bytes) / kPage * kPage;
  if (begin < end) madvise(memory().base + begin, end - begin, MADV_DONTNEED);
}

bool overlaps(const void* data, size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(data);
  return begin + bytes > memory().base && begin < memory().base + kMemoryBytes;
}

// Allocations until one is refused, which makes it kRefused; no count below it refuses any.
constexpr int kRefused = -1;
constexpr int kNeverRefuses = -2;
std::atomic<int> granted_before_refusal{kNeverRefuses};

bool refuses() { return granted_before_refusal >= 0 && granted_before_refusal-- == 0; }

}  // namespace

RefusedAllocation::RefusedAllocation(int granted) { granted_before_refusal = granted; }

RefusedAllocation::~RefusedAllocation() { granted_before_refusal = kNeverRefuses; }

bool RefusedAllocation::happened() const { return granted_before_refusal == kRefused; }

std::byte* allocate(size_t bytes, int device) {
  if (refuses()) return nullptr;
  Memory& m = memory();
  size_t at = 0;
  for (const auto& [offset, piece] : m.blocks) {
    if (at + taken(bytes) <= offset) break;
    at = offset + taken(piece.bytes);
  }
  if (taken(bytes) > kMemoryBytes || at > kMemoryBytes - taken(bytes)) return nullptr;
  m.blocks[at] = {bytes, device};
  const OpenMemory opened;
  std::memset(m.base + at, kUnset, taken(bytes));
  return m.base + at;
}

void release(std::byte* data) {
  Memory& m = memory();
  const auto found = m.blocks.find(static_cast<size_t>(data - m.base));
  SMORE_CHECK(found != m.blocks.end(), "memory is freed that was not allocated");
  const OpenMemory opened;
  const size_t bytes = found->second.bytes;
  SMORE_CHECK(std::all_of(data + bytes, data + taken(bytes),
                          [](std::byte b) { return b == std::byte{kUnset}; }),
              "a kernel wrote behind the end of its memory");
  give_back(found->first, bytes);
  m.blocks.erase(found);
}

size_t free_bytes() {
  size_t used = 0;
  for (const auto& [offset, piece] : memory().blocks) used += taken(piece.bytes);
  return kMemoryBytes - used;
}

size_t taken_bytes(int device) {
  size_t bytes = 0;
  for (const auto& [offset, piece] : memory().blocks) {
    if (piece.device == device) bytes += piece.bytes;
  }
  return bytes;
}

OpenMemory::OpenMemory() {
  if (memory().open++ == 0) protect(PROT_READ | PROT_WRITE);
}

OpenMemory::~OpenMemory() {
  if (--memory().open == 0) protect(PROT_NONE);
}

void require_on_device(const void* data, size_t bytes, int device) {
  Memory& m = memory();
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(data) - m.base);
  auto found = m.blocks.upper_bound(offset);
  SMORE_CHECK(found != m.blocks.begin(), "a copy leaves the device's memory");
  --found;
  SMORE_CHECK(offset + bytes <= found->first + found->second.bytes, "a copy leaves its memory");
  SMORE_CHECK(found->second.device == device, "a copy of another device's memory");
}

void require_on_host(const void* data, size_t bytes) {
  SMORE_CHECK(!overlaps(data, bytes), "host memory of a copy is the device's");
}

}  // namespace smore::cuda::emulated
