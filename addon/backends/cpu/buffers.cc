#include <algorithm>
#include <cstdlib>
#include <new>

#include "backends/cpu/cpu_backend.h"

namespace smore {
namespace {

constexpr size_t kCacheLine = 64;

}  // namespace

// Pages of it that no step has reached yet take no memory.
Buffer CpuBackend::take(int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  void* memory = std::aligned_alloc(kCacheLine, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine);
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer(static_cast<float*>(memory), [](float* buffer) { std::free(buffer); });
}

Buffer CpuBackend::place(std::span<const float> values) {
  if (values.empty()) return {};
  Buffer buffer = take(static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), buffer.get());
  return buffer;
}

void CpuBackend::gather(const float* x, std::span<const int32_t> rows, int64_t width, float* y) {
  for (const int32_t row : rows) {
    if (x + row * width != y) std::copy_n(x + row * width, width, y);
    y += width;
  }
}

}  // namespace smore
