#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace smore {

// What an adapter's memory is made of, as the cache sees it: a trunk and pages of known sizes, and
// a way to fill them. What the bytes mean is the owner's affair.
class BlockSource {
 public:
  virtual ~BlockSource() = default;
  virtual size_t trunk_bytes() const = 0;
  virtual int pages() const = 0;
  virtual size_t page_bytes(int page) const = 0;

  // Fill a block of that size. Called on the loader's thread; throw Error(kIo, kInvalidAdapter).
  virtual void load_trunk(std::byte* block) const = 0;
  virtual void load_page(int page, std::byte* block) const = 0;
};

// Uninitialised, aligned to a cache line; large ones lie in huge pages where the system grants
// them. Throws std::bad_alloc.
using BlockMemory = std::shared_ptr<std::byte>;
BlockMemory allocate_block(size_t bytes);
BlockMemory allocate_region(size_t bytes);  // in huge pages whatever its size

// Memory of the tier's kind: as the above, of the host's where nothing else is said.
struct BlockMaker {
  std::function<BlockMemory(size_t bytes)> block = allocate_block;
  std::function<BlockMemory(size_t bytes)> region = allocate_region;  // what pages share
};

}  // namespace smore
