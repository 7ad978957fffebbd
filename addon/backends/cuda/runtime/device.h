#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#include "backends/cuda/runtime.h"

// The words of a kernel for nvcc. emulated/device.h is the same for a host compiler; kernels use
// what both have.

namespace smore::cuda {

// Throws unless the launch before this was accepted.
void check_launch();
cudaStream_t stream_handle(const Stream& stream);

// Puts a kernel on a stream. shared_bytes: what shared_memory() gives each block, 48 KiB at most.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            const Stream& stream, Arguments&&... arguments) {
  const KernelCall call{.kernel = reinterpret_cast<const void*>(kernel),
                        .grid = {grid.x, grid.y, grid.z},
                        .block = {block.x, block.y, block.z},
                        .shared_bytes = shared_bytes};
  require_launchable(call.grid, call.block, shared_bytes);
  if (KernelList* list = stream.listing()) {
    return list->add<Parameters...>(call, static_cast<Parameters>(arguments)...);
  }
  kernel<<<grid, block, shared_bytes, stream_handle(stream)>>>(
      static_cast<Parameters>(arguments)...);
  check_launch();
}

// The block's bytes, aligned to 16. They hold anything at first.
__device__ inline std::byte* shared_memory() {
  extern __shared__ __align__(16) unsigned char smore_shared[];
  return reinterpret_cast<std::byte*>(smore_shared);
}

__device__ inline float half_bits_to_float(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
__device__ inline uint16_t float_to_half_bits(float value) {
  return __half_as_ushort(__float2half_rn(value));
}

}  // namespace smore::cuda
