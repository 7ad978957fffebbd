#pragma once

#include <cstddef>
#include <memory>

#include "experts/tier.h"

namespace smore {

// Memory for pages. Pages of one size share regions, on the host of huge pages, so that a step that
// reads a few kilobytes here and there does not wait for the page tables; a region goes back to the
// system with its last page. Any thread.
class BlockPool {
 public:
  explicit BlockPool(BlockMaker maker = {});

  // Uninitialised, aligned to a cache line. May outlive the pool. Throws what the maker throws.
  BlockMemory take(size_t bytes);

 private:
  struct State;
  BlockMaker maker_;
  std::shared_ptr<State> state_;
};

}  // namespace smore
