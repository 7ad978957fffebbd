#include "core/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/cpu_relax.h"

namespace smore {
namespace {

using Clock = std::chrono::steady_clock;

// Long enough to bridge the serial code between two ops of a step, short enough to be nothing
// beside a step.
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr int kRelaxesPerClockRead = 32;

// Spins until ready() or until the budget is gone; tells which.
template <class Ready>
bool spin_until(Ready&& ready) {
  const Clock::time_point end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < kRelaxesPerClockRead; ++i) {
      if (ready()) return true;
      cpu_relax();
    }
  } while (Clock::now() < end);
  return ready();
}

uint32_t chunks_left(uint64_t ticket) { return static_cast<uint32_t>(ticket); }

}  // namespace

struct ThreadPool::State {
  // Generation of the job (high half) and the chunks of it that nobody has taken (low half). Taking
  // a chunk is a compare-and-swap on both, so a thread that slept through a job can never take part
  // in another by mistake; whoever owns a chunk keeps the fields of its job from changing.
  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<int> done{0};  // chunks finished
  alignas(64) std::atomic<int> wakes{0};
  std::atomic<int> sleepers{0};
  std::atomic<bool> stop{false};

  Job job = nullptr;
  void* context = nullptr;
  int chunks = 0;
  std::atomic_flag failed;
  std::exception_ptr fault;  // of the thread that set `failed`, before it counted its chunk as done
  std::vector<std::thread> workers;

  bool has_work() const { return chunks_left(ticket.load(std::memory_order_acquire)) > 0; }

  void run_chunk(int64_t chunk) noexcept {
    try {
      job(context, chunk);
    } catch (...) {
      if (!failed.test_and_set(std::memory_order_relaxed)) fault = std::current_exception();
    }
  }

  // Of a job of which every chunk is done.
  void rethrow_fault() {
    if (!failed.test(std::memory_order_relaxed)) return;
    failed.clear(std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(fault, nullptr));
  }

  // Runs chunks until none is left to take.
  void drain() {
    uint64_t seen = ticket.load(std::memory_order_acquire);
    while (chunks_left(seen) > 0) {
      if (!ticket.compare_exchange_weak(seen, seen - 1, std::memory_order_acq_rel,
                                        std::memory_order_acquire)) {
        continue;
      }
      const int total = chunks;
      run_chunk(total - static_cast<int64_t>(chunks_left(seen)));
      // The last finisher wakes a caller that has given up spinning.
      if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == total) done.notify_one();
      seen = ticket.load(std::memory_order_acquire);
    }
  }

  void work() {
    while (!stop.load(std::memory_order_acquire)) {
      drain();
      if (spin_until([this] { return has_work() || stop.load(std::memory_order_relaxed); }))
        continue;
      // Whoever publishes work after the check below sees this sleeper and changes `wakes`.
      const int epoch = wakes.load(std::memory_order_seq_cst);
      sleepers.fetch_add(1, std::memory_order_seq_cst);
      if (chunks_left(ticket.load(std::memory_order_seq_cst)) == 0 &&
          !stop.load(std::memory_order_seq_cst)) {
        wakes.wait(epoch, std::memory_order_seq_cst);
      }
      sleepers.fetch_sub(1, std::memory_order_seq_cst);
    }
  }

  void wake_sleepers() {
    if (sleepers.load(std::memory_order_seq_cst) == 0) return;
    wakes.fetch_add(1, std::memory_order_seq_cst);
    wakes.notify_all();
  }
};

ThreadPool::ThreadPool(int threads)
    : size_(std::max(1, threads)), state_(std::make_unique<State>()) {
  for (int i = 1; i < size_; ++i) state_->workers.emplace_back([this] { state_->work(); });
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_seq_cst);
  state_->wakes.fetch_add(1, std::memory_order_seq_cst);
  state_->wakes.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

void ThreadPool::run(int64_t chunks, Job job, void* context) {
  if (chunks <= 0) return;
  if (chunks == 1 || size_ == 1) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) job(context, chunk);
    return;
  }
  State& state = *state_;
  SMORE_CHECK(chunks <= INT32_MAX, "more chunks than a job can have");
  state.job = job;
  state.context = context;
  state.chunks = static_cast<int>(chunks);
  state.done.store(0, std::memory_order_relaxed);
  const uint64_t generation = (state.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  state.ticket.store(generation << 32 | static_cast<uint64_t>(chunks), std::memory_order_seq_cst);
  state.wake_sleepers();
  state.drain();

  const int total = static_cast<int>(chunks);
  const auto finished = [&] { return state.done.load(std::memory_order_acquire) == total; };
  if (!spin_until(finished)) {
    // A worker holds a chunk but not a processor: give it this one.
    for (int done = state.done.load(std::memory_order_acquire); done != total;
         done = state.done.load(std::memory_order_acquire)) {
      state.done.wait(done, std::memory_order_acquire);
    }
  }
  state.rethrow_fault();
}

}  // namespace smore
