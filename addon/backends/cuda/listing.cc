#include <utility>

#include "backends/cuda/runtime.h"

// What both twins of the runtime do with listed kernels.

namespace smore::cuda {

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

void Stream::when_put(std::function<void()> call) const {
  if (list_ == nullptr || list_->empty()) return call();
  when_put_.push_back(std::move(call));
}

}  // namespace smore::cuda
