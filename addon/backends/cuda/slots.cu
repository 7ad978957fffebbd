#include "backends/cuda/sampling.h"
#include "backends/cuda/warp.h"

// What is kept of sequences in their slots.

namespace smore::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPoolThreads = 1024;

__global__ void restore_kernel(ReadoutView v) {
  const int b = static_cast<int>(blockIdx.y);
  const SequenceDraw& s = v.sequences[b];
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int step = static_cast<int>(gridDim.x * blockDim.x);
  if (s.flags & kRestoreHistory) {
    if (s.flags & kPenalties) {
      for (int i = first; i < v.vocab; i += step) v.counts[int64_t{s.slot} * v.vocab + i] = 0;
    }
    if (s.flags & kPool) {
      for (int i = first; i < v.width; i += step) v.state_sums[int64_t{s.slot} * v.width + i] = 0;
    }
    if (first == 0) v.statuses[s.slot] = static_cast<int32_t>(SequenceStatus::kOk);
  }
  if (first == 0) v.status[b] = v.statuses[s.slot];
}

__global__ void history_kernel(ReadoutView v, const HistoryRead* histories, const int32_t* tokens) {
  const HistoryRead h = histories[blockIdx.x];
  uint32_t* counts = v.counts + int64_t{h.slot} * v.vocab;
  for (int i = h.begin + static_cast<int>(threadIdx.x); i < h.end; i += blockDim.x) {
    if (i < h.prompt_end) {
      atomicOr(&counts[tokens[i]], kInPrompt);
    } else {
      atomicAdd(&counts[tokens[i]], 1u);
    }
  }
}

__global__ void fail_kernel(ReadoutView v, const int32_t* sequences, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const int b = sequences[i];
  int32_t& status = v.statuses[v.sequences[b].slot];
  if (is_ok(status)) status = static_cast<int32_t>(SequenceStatus::kAdapterFailed);
  v.status[b] = status;
}

// A block adds a sequence's rows, in their order.
__global__ void __launch_bounds__(kPoolThreads)
    pool_kernel(ReadoutView v, const PooledRead* pooled, const float* states) {
  __shared__ float scratch[kPoolThreads / kWarpSize];
  const PooledRead own = pooled[blockIdx.x];
  if (!is_ok(v.statuses[own.slot])) return;
  float* sums = v.state_sums + int64_t{own.slot} * v.width;
  bool finite = true;
  for (int i = static_cast<int>(threadIdx.x); i < v.width; i += kPoolThreads) {
    const float* state = states + int64_t{own.rows.first} * v.width + i;
    float sum = sums[i];
    for (int row = 0; row < own.rows.rows; ++row) sum += state[int64_t{row} * v.width];
    sums[i] = sum;
    const float mean = sum / static_cast<float>(own.positions);
    v.pooled[int64_t{blockIdx.x} * v.width + i] = mean;
    finite = finite && fabsf(mean) <= kLargest;
  }
  finite = block_max(finite ? 0.0f : 1.0f, scratch) == 0.0f;
  if (threadIdx.x != 0 || finite) return;
  v.status[own.rows.sequence] = v.statuses[own.slot] =
      static_cast<int32_t>(SequenceStatus::kNotFinite);
}

unsigned blocks_for(int count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

}  // namespace

void restore_slots(const ReadoutView& view, int sequences, const Stream& stream) {
  constexpr unsigned kBlocks = 8;
  launch(restore_kernel, dim3(kBlocks, static_cast<unsigned>(sequences)), kThreads, 0, stream,
         view);
}

void count_histories(const ReadoutView& view, const HistoryRead* histories, int count,
                     const int32_t* tokens, const Stream& stream) {
  launch(history_kernel, count, kThreads, 0, stream, view, histories, tokens);
}

void fail_sequences(const ReadoutView& view, const int32_t* sequences, int count,
                    const Stream& stream) {
  launch(fail_kernel, blocks_for(count), kThreads, 0, stream, view, sequences, count);
}

void pool_states(const ReadoutView& view, const PooledRead* pooled, int count, const float* states,
                 const Stream& stream) {
  launch(pool_kernel, count, kPoolThreads, 0, stream, view, pooled, states);
}

}  // namespace smore::cuda
