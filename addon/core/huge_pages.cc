#include "core/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace smore {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kRegion = size_t{16} << 20;

// Advice to a system that does not know it is none at all.
#ifdef MADV_HUGEPAGE
constexpr int kAdvice = MADV_HUGEPAGE;
#else
constexpr int kAdvice = MADV_NORMAL;
#endif

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

std::shared_ptr<uint8_t> huge_bytes(size_t count) {
  const size_t size = round_up(std::max<size_t>(count, 1), kHugePage);
  auto* data = static_cast<uint8_t*>(::operator new(size, std::align_val_t{kHugePage}));
  madvise(data, size, kAdvice);
  return {data, [](uint8_t* bytes) { ::operator delete(bytes, std::align_val_t{kHugePage}); }};
}

std::shared_ptr<uint8_t> HugeArena::take(size_t count) {
  count = round_up(count, 64);
  if (used_ + count > size_) {
    size_ = std::max(count, kRegion);
    region_ = huge_bytes(size_);
    used_ = 0;
  }
  std::shared_ptr<uint8_t> piece(region_, region_.get() + used_);
  used_ += count;
  return piece;
}

}  // namespace smore
