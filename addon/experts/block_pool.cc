#include "experts/block_pool.h"

#include <algorithm>
#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <utility>
#include <vector>

namespace smore {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kRegion = size_t{2} << 20;
// Larger ones would leave too much of their regions empty.
constexpr size_t kLargest = kRegion / 8;

struct Region {
  BlockMemory memory;
  std::vector<uint32_t> free;  // indices of blocks, the next one last
  uint32_t blocks;
};

}  // namespace

struct BlockPool::State {
  std::mutex mutex;
  std::map<size_t, std::list<Region>> regions;  // by size of block; those with free blocks first
};

BlockPool::BlockPool(BlockMaker maker)
    : maker_(std::move(maker)), state_(std::make_shared<State>()) {}

BlockMemory BlockPool::take(size_t bytes) {
  if (bytes > kLargest) return maker_.block(bytes);
  const size_t size = (std::max<size_t>(bytes, 1) + kLine - 1) / kLine * kLine;
  std::unique_lock lock(state_->mutex);
  std::list<Region>& regions = state_->regions[size];
  if (regions.empty() || regions.front().free.empty()) {
    Region added{maker_.region(kRegion), {}, static_cast<uint32_t>(kRegion / size)};
    added.free.resize(added.blocks);
    std::iota(added.free.rbegin(), added.free.rend(), 0u);
    regions.push_front(std::move(added));
  }
  const auto region = regions.begin();
  const uint32_t index = region->free.back();
  region->free.pop_back();
  if (region->free.empty()) regions.splice(regions.end(), regions, region);
  lock.unlock();
  std::byte* data = region->memory.get() + index * size;
  return {data, [state = state_, &regions, region, index](std::byte*) {
            const std::lock_guard guard(state->mutex);
            region->free.push_back(index);
            if (region->free.size() == region->blocks) {
              regions.erase(region);
            } else {
              regions.splice(regions.begin(), regions, region);
            }
          }};
}

}  // namespace smore
