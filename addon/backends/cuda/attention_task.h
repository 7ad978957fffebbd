#pragma once

#include "backends/cuda/attention.h"
#include "device.h"

// What the kernels of attention share: those that multiply in float32 and those of tensor cores.

namespace smore::cuda {

template <class T>
__device__ __forceinline__ T* keys_of(const KvView& kv, int page, int layer, int head) {
  const int64_t index = (int64_t{page} * kv.layers + layer) * kv.kv_heads + head;
  return reinterpret_cast<T*>(kv.data) + index * 2 * kPageTokens * kv.head_dim;
}

// Steps of more rows have those of prompts, of which several share a block, and are never graphs:
// those of so many take as many blocks as their number of rows says, whatever else they hold.
inline constexpr int kFewRows = 256;

inline int span_count(int longest) { return (longest + kSpan - 1) / kSpan; }

// Attention of one layer.
struct AttentionTask {
  KvView kv;
  int layer;
  int heads;
  float query_scale, softcap;
  int window;
  PlacedStep step;
  const float* qkv;
};

// Positions [begin, end).
struct Sight {
  int begin, end;
};

__device__ __forceinline__ Sight sight_of(const AttentionTask& task, int row) {
  const int end = task.step.positions[row] + 1;
  return {task.window > 0 ? max(0, end - task.window) : 0, end};
}

// The softmax over some positions, not yet divided by its sum. values: [d] beside it.
struct Softmax {
  float most;  // -INFINITY where nothing was seen
  float sum;
};

// Adds a later span's to the sums of the spans before it; to_before and to_span scale the values.
// power(x): what a score of `most` plus x weighs of one of `most`
template <class Power>
__device__ __forceinline__ Softmax merge(Softmax before, Softmax span, Power power,
                                         float& to_before, float& to_span) {
  const float most = fmaxf(before.most, span.most);
  to_before = before.most == -INFINITY ? 0.0f : power(before.most - most);
  to_span = span.most == -INFINITY ? 0.0f : power(span.most - most);
  return {most, fmaf(span.sum, to_span, before.sum * to_before)};
}

// Where a (row, head) of a span has its softmax and values.  scratch: [rows, H, spans, 2 + d]
__device__ __forceinline__ float* span_sums(const AttentionTask& task, int row, int head, int span,
                                            int spans, float* scratch) {
  return scratch + ((int64_t{row} * task.heads + head) * spans + span) * (2 + task.kv.head_dim);
}

// A block for each (row, head), which merges its spans.
template <class Power>
__global__ void merge_kernel(AttentionTask task, Power power, int spans, float* scratch, float* y) {
  const int row = blockIdx.x, head = blockIdx.y, d = task.kv.head_dim;
  const Sight seen = sight_of(task, row);
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    Softmax all{-INFINITY, 0};
    float sum = 0;
    for (int span = seen.begin / kSpan; span * kSpan < seen.end; ++span) {
      const float* in = span_sums(task, row, head, span, spans, scratch);
      float to_before, to_span;
      all = merge(all, {in[0], in[1]}, power, to_before, to_span);
      sum = fmaf(in[2 + i], to_span, sum * to_before);
    }
    y[(int64_t{row} * task.heads + head) * d + i] = sum / all.sum;
  }
}

}  // namespace smore::cuda
