#pragma once

#include <atomic>
#include <cstdint>

namespace smore::cuda::emulated {

// Products that cuBLASLt's twin was asked for so far, and kernels that were chosen for them.
inline std::atomic<uint64_t> library_products{0};
inline std::atomic<uint64_t> library_choices{0};

}  // namespace smore::cuda::emulated
