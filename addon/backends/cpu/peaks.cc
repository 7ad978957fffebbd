#include "backends/cpu/peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>

#include "backends/cpu/cpu_backend.h"
#include "core/huge_pages.h"
#include "core/thread_pool.h"

namespace smore {
namespace {

using Clock = std::chrono::steady_clock;

// The most per second that run() told, of all its calls in a third of a second.
template <class Run>
double best_rate(Run&& run) {
  double best = 0;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(300);
  do {
    const Clock::time_point begin = Clock::now();
    const double done = run();
    best = std::max(best, done / std::chrono::duration<double>(Clock::now() - begin).count());
  } while (Clock::now() < end);
  return best;
}

double read_rate(ThreadPool& threads) {
  constexpr int64_t kWords = int64_t{256} << 17;  // 256 MiB
  constexpr int64_t kPiece = 1 << 15;
  const std::shared_ptr<uint8_t> bytes = huge_bytes(kWords * 8);
  std::memset(bytes.get(), 1, kWords * 8);
  const auto* buffer = reinterpret_cast<const uint64_t*>(bytes.get());
  std::atomic<uint64_t> sink{0};
  return best_rate([&] {
    threads.for_each(kWords / kPiece, [&](int64_t chunk) {
      const uint64_t* at = buffer + chunk * kPiece;
      uint64_t sums[8] = {};
      for (int64_t i = 0; i < kPiece; i += 8) {
        for (int j = 0; j < 8; ++j) sums[j] += at[i + j];
      }
      sink += sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
    });
    return double{kWords * 8};
  });
}

double operation_rate(ThreadPool& threads, int64_t (*exercise)(int64_t rounds)) {
  constexpr int64_t kRounds = 1 << 14;
  const int64_t chunks = int64_t{threads.size()} * kChunksPerThread;
  std::atomic<int64_t> done{0};
  return best_rate([&] {
    done = 0;
    threads.for_each(chunks, [&](int64_t) { done += exercise(kRounds); });
    return static_cast<double>(done.load());
  });
}

}  // namespace

Peaks measure_peaks(const BackendOptions& options) {
  const CpuKernels& kernels = find_kernels(options.path);
  ThreadPool threads(options.threads);
  return {.read_bytes = read_rate(threads),
          .int8_operations = operation_rate(threads, kernels.integer->exercise),
          .float_operations = operation_rate(threads, kernels.exercise)};
}

}  // namespace smore
