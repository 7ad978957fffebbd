#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "backends/cuda/kernel_list.h"

// Runs the blocks of a launch on the host: a fibre for each thread of a block, blocks one after the
// other. A fibre runs until it must wait for others, so threads that lack a barrier see values of
// before it. Threads take turns in rising order in one block and in falling order in another; in
// the blocks between, each warp runs as far as it gets before the next one starts, in an order that
// is drawn. What works by the order alone fails in one of them.

namespace smore::cuda::emulated {

using Index3 = Extent;

// 16 bytes on their way to shared memory; zeros where they come from nowhere.
struct Copy {
  void* to;
  const void* from;
};

struct Thread {
  Index3 thread_index;
  int lane = 0;
  int warp = 0;
  std::vector<Copy> copies;  // begun, and made when it waits for them: a missing wait shows
};

// Of the running kernel; null outside.
extern Thread* running;
extern Index3 block_index, block_size, grid_size;
extern std::byte* shared_bytes;

inline constexpr int kWarp = 32;
inline constexpr size_t kMostExchanged = 32;  // bytes of a thread in one exchange

// What every lane of a warp gave to an exchange, valid until the thread's next but one.
using Exchanged = const std::byte (*)[kMostExchanged];

// Waits until all lanes of the mask have called it with this mask, and returns what they gave.
Exchanged exchange(unsigned mask, const void* value, size_t bytes);

// Makes the copies that a thread has begun.
void make_copies(Thread& thread);

// Waits for all threads of the block that have not ended.
void block_barrier();

void run_blocks(Index3 grid, Index3 block, size_t shared, const std::function<void()>& kernel);

}  // namespace smore::cuda::emulated
