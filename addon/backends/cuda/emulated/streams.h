#pragma once

#include <functional>

#include "backends/cuda/runtime.h"

namespace smore::cuda::emulated {

// Puts work on a stream, which does it when somebody waits: what forgets to wait sees nothing done.
void enqueue(const Stream& stream, std::function<void()> work);

}  // namespace smore::cuda::emulated
