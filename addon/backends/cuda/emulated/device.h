#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>

#include "backends/cuda/emulated/block.h"
#include "backends/cuda/emulated/streams.h"
#include "backends/cuda/runtime.h"
#include "core/dtype.h"

// The words of a kernel for a host compiler: what runtime/device.h and CUDA itself give to nvcc, as
// far as the kernels use it.

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after the other. In a section of its own, as its bytes are made NaN before a
// block.
#define __shared__ __attribute__((section("smore_shared"))) static
#define threadIdx (::smore::cuda::emulated::running->thread_index)
#define blockIdx (::smore::cuda::emulated::block_index)
#define blockDim (::smore::cuda::emulated::block_size)
#define gridDim (::smore::cuda::emulated::grid_size)

namespace smore::cuda {

using std::max;
using std::min;

struct dim3 : emulated::Index3 {
  dim3(unsigned across = 1, unsigned down = 1, unsigned deep = 1)
      : emulated::Index3{across, down, deep} {}
};

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulated {

template <class... Parameters, size_t... kIndices>
void call_with(const void* kernel, void* const* arguments, std::index_sequence<kIndices...>) {
  reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(kernel))(
      *static_cast<const Parameters*>(arguments[kIndices])...);
}

template <class... Parameters>
void call_listed(const void* kernel, void* const* arguments) {
  call_with<Parameters...>(kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace emulated

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            const Stream& stream, Arguments&&... arguments) {
  const KernelCall call{.kernel = reinterpret_cast<const void*>(kernel),
                        .call = emulated::call_listed<Parameters...>,
                        .grid = {grid.x, grid.y, grid.z},
                        .block = {block.x, block.y, block.z},
                        .shared_bytes = shared_bytes};
  require_launchable(call.grid, call.block, shared_bytes);
  if (KernelList* list = stream.listing()) {
    return list->add<Parameters...>(call, static_cast<Parameters>(arguments)...);
  }
  emulated::require_own_stream(stream);
  emulated::launched += 1;
  emulated::enqueue(
      stream, [=, values = std::tuple<Parameters...>(static_cast<Parameters>(arguments)...)] {
        emulated::run_blocks(grid, block, shared_bytes, [&] { std::apply(kernel, values); });
      });
}

inline std::byte* shared_memory() { return emulated::shared_bytes; }

inline void __syncthreads() { emulated::block_barrier(); }

inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated::exchange(mask, &mask, 0); }

template <class T>
T exchanged(emulated::Exchanged values, int lane) {
  T value;
  std::memcpy(&value, values[lane], sizeof value);
  return value;
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = emulated::kWarp) {
  const int lane = emulated::running->lane;
  const auto values = emulated::exchange(mask, &value, sizeof value);
  return exchanged<T>(values, lane / width * width + source % width);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = emulated::kWarp) {
  const int lane = emulated::running->lane;
  const auto values = emulated::exchange(mask, &value, sizeof value);
  const int source = lane ^ bits;
  return exchanged<T>(values, source / width == lane / width ? source : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const auto values = emulated::exchange(mask, &predicate, sizeof predicate);
  unsigned votes = 0;
  for (int lane = 0; lane < emulated::kWarp; ++lane) {
    if ((mask >> lane & 1) != 0 && exchanged<int>(values, lane) != 0) votes |= 1u << lane;
  }
  return votes;
}

template <class T>
T atomicAdd(T* at, T value) {
  const T old = *at;
  *at = old + value;
  return old;
}

template <class T>
T atomicOr(T* at, T bits) {
  const T old = *at;
  *at = old | bits;
  return old;
}

inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) {
  return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1;
}
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }

inline float half_bits_to_float(uint16_t bits) { return half_to_float(bits); }
inline uint16_t float_to_half_bits(float value) { return float_to_half(value); }

}  // namespace smore::cuda
