#pragma once

#include <cstddef>

// The emulated device's memory: pages that the host can touch only while a kernel or a copy runs,
// so that a pointer used on the wrong side ends the test. Every block lies between bytes that are
// checked when it is freed.

namespace smore::cuda::emulated {

inline constexpr size_t kMemoryBytes = size_t{2} << 30;  // of the device; taken when touched

inline constexpr int kUnset = 0xff;  // every byte of fresh memory: four are a NaN

// null when there is no such piece.
std::byte* allocate(size_t bytes, int device);
void release(std::byte* data);
size_t free_bytes();
size_t taken_bytes(int device);

// While one lives, the memory is open.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

// Ends the process unless the bytes are this device's.
void require_on_device(const void* data, size_t bytes, int device);
void require_on_host(const void* data, size_t bytes);

}  // namespace smore::cuda::emulated
