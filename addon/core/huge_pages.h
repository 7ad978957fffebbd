#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace smore {

// Memory in 2 MB pages where the system grants them: kernels that stream weights from memory would
// otherwise wait for the page tables at every fourth kilobyte. Not initialised; aligned to 64
// bytes.
std::shared_ptr<uint8_t> huge_bytes(size_t count);

// Hands out pieces of huge_bytes() one after the other, so that small matrices share a page. A
// piece keeps its region alive.
class HugeArena {
 public:
  std::shared_ptr<uint8_t> take(size_t count);

 private:
  std::shared_ptr<uint8_t> region_;
  size_t size_ = 0;
  size_t used_ = 0;
};

}  // namespace smore
