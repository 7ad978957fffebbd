#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "backends/cuda/runtime.h"

namespace smore::cuda::emulated {

// Puts work on a stream, which does it when somebody waits: what forgets to wait sees nothing done.
void enqueue(const Stream& stream, std::function<void()> work);

// The calling thread's, which CUDA has at 0 until the thread chooses another.
extern thread_local int current_device;

// Ends the process where a thread launches on a stream that is not its device's.
void require_own_stream(const Stream& stream);

// Kernels that were put on streams so far, bytes of copies to the host, copies from or to memory of
// the host that is not pinned, and times that the host waited for what was not done.
inline std::atomic<uint64_t> launched{0};
inline std::atomic<uint64_t> bytes_to_host{0};
inline std::atomic<uint64_t> detours{0};
inline std::atomic<uint64_t> waits{0};

}  // namespace smore::cuda::emulated
