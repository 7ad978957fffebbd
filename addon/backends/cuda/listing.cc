#include <utility>

#include "backends/cuda/runtime.h"
#include "core/check.h"
#include "core/error.h"

// What both twins of the runtime do with kernels before they are put on a stream, and at its end.

namespace smore::cuda {

void require_launchable(const Extent& grid, const Extent& block, size_t shared_bytes) {
  constexpr unsigned kMostAcross = 0x7fffffff, kMostElsewhere = 65535;
  SMORE_CHECK(grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= kMostAcross &&
                  grid.y <= kMostElsewhere && grid.z <= kMostElsewhere,
              "a grid of no or of too many blocks");
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  SMORE_CHECK(threads > 0 && threads <= 1024, "a block of no or of too many threads");
  SMORE_CHECK(shared_bytes <= size_t{48} << 10, "more shared memory than a block has unasked");
}

void Stream::list_kernels(KernelList* list, std::function<void()> put) {
  catch_up();
  list_ = list;
  put_ = std::move(put);
}

void Stream::catch_up() const {
  if (list_ == nullptr || (list_->empty() && when_put_.empty())) return;
  KernelList* const list = std::exchange(list_, nullptr);  // what puts it is not listed again
  struct Resume {
    const Stream& stream;
    KernelList* list;
    ~Resume() {
      list->clear();
      stream.list_ = list;
    }
  } const resume{*this, list};
  const auto calls = std::exchange(when_put_, {});
  try {
    put_();
  } catch (...) {
    for (const auto& call : calls) call();  // a device that fails uses nothing more
    throw;
  }
  for (const auto& call : calls) call();
}

void Stream::drain() const noexcept {
  return_to_device(state_.device());
  try {
    synchronize();
  } catch (const Error&) {
  }
}

void Stream::when_put(std::function<void()> call) const {
  if (list_ == nullptr || list_->empty()) return call();
  when_put_.push_back(std::move(call));
}

}  // namespace smore::cuda
