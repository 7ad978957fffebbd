#include "backends/cuda/emulated/block.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "backends/cuda/emulated/fibre_switch.h"
#include "backends/cuda/emulated/memory.h"
#include "core/check.h"

namespace smore::cuda::emulated {

Thread* running = nullptr;
Index3 block_index, block_size, grid_size;
std::byte* shared_bytes = nullptr;

// Where the linker puts what kernels call __shared__.
extern "C" std::byte __start_smore_shared[], __stop_smore_shared[];

namespace {

constexpr size_t kStack = 64 * 1024;

enum class State { kReady, kAtBarrier, kInExchange, kEnded };

struct Fibre {
  Thread thread;
  State state = State::kReady;
  void* stack = nullptr;  // where to switch to
};

struct Warp {
  unsigned wanted = 0;   // lanes of the exchange that has begun; 0 = none
  unsigned arrived = 0;  // of these
  int turn = 0;          // the slot that it fills
  std::byte values[2][kWarp][kMostExchanged];
};

// The one block that runs. Owned by the thread that holds the emulated device.
struct Block {
  std::vector<std::unique_ptr<std::byte[]>> stacks;
  std::vector<Fibre> fibres;
  std::vector<Warp> warps;
  const std::function<void()>* kernel = nullptr;
  void* scheduler = nullptr;  // its stack
  int left = 0;               // threads that have not ended
  int at_barrier = 0;
};

Block block;

Fibre& running_fibre() { return reinterpret_cast<Fibre&>(*running); }

void leave() { smore_switch_fibre(&running_fibre().stack, block.scheduler); }

void open_barrier() {
  if (block.left == 0 || block.at_barrier < block.left) return;
  block.at_barrier = 0;
  for (Fibre& fibre : block.fibres) {
    if (fibre.state == State::kAtBarrier) fibre.state = State::kReady;
  }
}

// Not in run_thread(), which is never left: sanitizers would miss the end of what lives in it, on a
// stack that is used again.
[[gnu::noinline]] void run_kernel() {
  (*block.kernel)();
  SMORE_CHECK(running->copies.empty(), "a thread ends before its copies are there");
}

void run_thread() {
  run_kernel();
  running_fibre().state = State::kEnded;
  --block.left;
  open_barrier();
  for (;;) leave();
}

void prepare_block(unsigned threads) {
  block.fibres.assign(threads, {});
  block.warps.assign((threads + kWarp - 1) / kWarp, {});
  block.left = static_cast<int>(threads);
  block.at_barrier = 0;
  while (block.stacks.size() < threads) {
    block.stacks.push_back(std::make_unique_for_overwrite<std::byte[]>(kStack));
  }
  for (unsigned i = 0; i < threads; ++i) {
    Fibre& fibre = block.fibres[i];
    fibre.thread.thread_index = {i % block_size.x, i / block_size.x % block_size.y,
                                 i / (block_size.x * block_size.y)};
    fibre.thread.lane = static_cast<int>(i % kWarp);
    fibre.thread.warp = static_cast<int>(i / kWarp);
    fibre.stack = prepare_fibre(block.stacks[i].get(), kStack, run_thread);
  }
}

// Runs one thread until it waits or ends. False where it waits already.
bool advance(size_t thread) {
  Fibre& fibre = block.fibres[thread];
  if (fibre.state != State::kReady) return false;
  running = &fibre.thread;
  smore_switch_fibre(&block.scheduler, fibre.stack);
  return true;
}

// All threads in turns: each warp gets as far as the others.
bool sweep(bool rising) {
  bool moved = false;
  const size_t threads = block.fibres.size();
  for (size_t i = 0; i < threads; ++i) moved |= advance(rising ? i : threads - 1 - i);
  return moved;
}

// One warp after the other, each as far as it gets without the others: what reads too early what
// another warp is to write, or writes too early what another is still to read, is caught at it.
bool run_warps_alone() {
  static std::minstd_rand random;
  std::vector<size_t> order(block.warps.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  bool moved = false;
  for (const size_t warp : order) {
    const size_t first = warp * kWarp;
    const size_t end = std::min(first + kWarp, block.fibres.size());
    for (bool going = true; going; moved |= going) {
      going = false;
      for (size_t thread = first; thread < end; ++thread) going |= advance(thread);
    }
  }
  return moved;
}

enum class Order { kRising, kAlone, kFalling, kAloneAgain, kOrders };

void run_block(Order order) {
  const bool alone = order == Order::kAlone || order == Order::kAloneAgain;
  while (block.left > 0) {
    const bool moved = alone ? run_warps_alone() : sweep(order == Order::kRising);
    SMORE_CHECK(moved, "threads of a block wait for each other at different places");
  }
  running = nullptr;
}

}  // namespace

Exchanged exchange(unsigned mask, const void* value, size_t bytes) {
  Fibre& fibre = running_fibre();
  Warp& warp = block.warps[fibre.thread.warp];
  const unsigned lane = 1u << fibre.thread.lane;
  SMORE_CHECK(bytes <= kMostExchanged, "more bytes than an exchange of lanes holds");
  SMORE_CHECK((mask & lane) != 0, "a lane exchanges values under a mask that leaves it out");
  SMORE_CHECK(warp.wanted == 0 || warp.wanted == mask, "lanes exchange values under two masks");
  warp.wanted = mask;
  const int turn = warp.turn;
  std::memcpy(warp.values[turn][fibre.thread.lane], value, bytes);
  warp.arrived |= lane;
  if (warp.arrived != mask) {
    fibre.state = State::kInExchange;
    leave();
    return warp.values[turn];
  }
  warp.wanted = warp.arrived = 0;
  warp.turn ^= 1;
  for (int other = 0; other < kWarp; ++other) {
    if ((mask >> other & 1) == 0 || other == fibre.thread.lane) continue;
    block.fibres[size_t{kWarp} * fibre.thread.warp + other].state = State::kReady;
  }
  return warp.values[turn];
}

void make_copies(Thread& thread) {
  constexpr size_t kBytes = 16;
  for (const Copy& copy : thread.copies) {
    if (copy.from == nullptr) {
      std::memset(copy.to, 0, kBytes);
    } else {
      std::memcpy(copy.to, copy.from, kBytes);
    }
  }
  thread.copies.clear();
}

void block_barrier() {
  running_fibre().state = State::kAtBarrier;
  ++block.at_barrier;
  open_barrier();
  leave();
}

void run_blocks(Index3 grid, Index3 size, size_t shared, const std::function<void()>& kernel) {
  static int order = 0;
  const unsigned threads = size.x * size.y * size.z;
  grid_size = grid;
  block_size = size;
  block.kernel = &kernel;
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(shared);  // aligned to 16
  shared_bytes = memory.get();
  int blocks = 0;
  for (block_index.z = 0; block_index.z < grid.z; ++block_index.z) {
    for (block_index.y = 0; block_index.y < grid.y; ++block_index.y) {
      for (block_index.x = 0; block_index.x < grid.x; ++block_index.x) {
        std::memset(shared_bytes, kUnset, shared);
        // It is that of all kernels: what a block before left is seen in one of the first two.
        if (blocks++ < 2) {
          std::fill(__start_smore_shared, __stop_smore_shared, std::byte{kUnset});
        }
        prepare_block(threads);
        order = (order + 1) % static_cast<int>(Order::kOrders);
        run_block(static_cast<Order>(order));
      }
    }
  }
}

}  // namespace smore::cuda::emulated
