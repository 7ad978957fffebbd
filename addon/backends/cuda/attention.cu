#include "backends/cuda/attention.h"

#include <algorithm>
#include <bit>

#include "backends/cuda/warp.h"

namespace smore::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPasses = kSpan / kThreads;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kBlocksPerProcessor = 8;  // where a step has fewer, spans get their own

__device__ __forceinline__ float load_cached(const float* at) { return *at; }
__device__ __forceinline__ float load_cached(const uint16_t* at) { return half_bits_to_float(*at); }
__device__ __forceinline__ void store_cached(float value, float* at) { *at = value; }
__device__ __forceinline__ void store_cached(float value, uint16_t* at) {
  *at = float_to_half_bits(value);
}

template <class T>
__device__ __forceinline__ T* keys_of(const KvView& kv, int page, int layer, int head) {
  const int64_t index = (int64_t{page} * kv.layers + layer) * kv.kv_heads + head;
  return reinterpret_cast<T*>(kv.data) + index * 2 * kPageTokens * kv.head_dim;
}

// A warp for each head of a row.
template <class T>
__global__ void __launch_bounds__(kThreads)
    rotate_kernel(KvView kv, int layer, int heads, const float* cosines, const float* sines,
                  PlacedStep step, const float* q_norm, const float* k_norm, float eps,
                  float* qkv) {
  const int d = kv.head_dim;
  const int half = d / 2;
  const int row = blockIdx.x;
  const int lane = threadIdx.x % kWarpSize;
  const int position = step.positions[row];
  const int page = step.blocks[step.block_start[step.row_sequence[row]] + position / kPageTokens];
  for (int head = threadIdx.x / kWarpSize; head < heads + 2 * kv.kv_heads; head += kWarps) {
    float* x = qkv + (int64_t{row} * (heads + 2 * kv.kv_heads) + head) * d;
    const bool is_value = head >= heads + kv.kv_heads;
    const float* norm = head < heads ? q_norm : k_norm;
    float scale = 1;
    if (norm != nullptr && !is_value) {
      float squares = 0;
      for (int i = lane; i < d; i += kWarpSize) squares = fmaf(x[i], x[i], squares);
      scale = norm_scale(warp_sum(squares), d, eps);
    }
    const int64_t at = int64_t{position} * half;
    T* keys = nullptr;
    if (head >= heads) {
      keys = keys_of<T>(kv, page, layer, (head - heads) % kv.kv_heads) +
             (is_value ? kPageTokens * d : 0) + position % kPageTokens * d;
    }
    for (int i = lane; i < half; i += kWarpSize) {
      float a = x[i], b = x[i + half];
      if (!is_value) {
        if (norm != nullptr) a = a * scale * norm[i], b = b * scale * norm[i + half];
        const float c = cosines[at + i], s = sines[at + i];
        const float rotated = a * c - b * s;
        b = b * c + a * s;
        a = rotated;
        x[i] = a;
        x[i + half] = b;
      }
      if (keys == nullptr) continue;
      store_cached(a, keys + i);
      store_cached(b, keys + i + half);
    }
  }
}

// The softmax over some positions, not yet divided by its sum. values: [d] beside it.
struct Softmax {
  float most;  // -INFINITY where nothing was seen
  float sum;
};

// Adds a later span's to the sums of the spans before it; to_before and to_span scale the values.
__device__ __forceinline__ Softmax merge(Softmax before, Softmax span, float& to_before,
                                         float& to_span) {
  const float most = fmaxf(before.most, span.most);
  to_before = before.most == -INFINITY ? 0.0f : expf(before.most - most);
  to_span = span.most == -INFINITY ? 0.0f : expf(span.most - most);
  return {most, fmaf(span.sum, to_span, before.sum * to_before)};
}

struct AttentionTask {
  KvView kv;
  int layer;
  int heads;
  float query_scale, softcap;
  int window;
  PlacedStep step;
  const float* qkv;
};

// Shared memory of a block: the query, the weights of a span, values of its two halves, a float for
// each warp.
int shared_floats(int head_dim) { return head_dim + kSpan + 2 * head_dim + kWarps; }

// Attends one span for one head of one row. Every thread learns the softmax; values[d] (shared)
// gets the sums. Even positions of the span are summed beside the odd ones, then both added.
template <class T>
__device__ Softmax attend_span(const AttentionTask& task, const int32_t* pages, int kv_head,
                               int first, int begin, int end, float* shared) {
  const int d = task.kv.head_dim;
  const float* query = shared;
  float* weights = shared + d;
  float* values = weights + kSpan;
  float* scratch = values + 2 * d;
  float most = -INFINITY;
  float scores[kPasses];
  for (int pass = 0; pass < kPasses; ++pass) {
    const int at = first + pass * kThreads + static_cast<int>(threadIdx.x);
    scores[pass] = -INFINITY;
    if (at < begin || at >= end) continue;
    const T* key =
        keys_of<T>(task.kv, pages[at / kPageTokens], task.layer, kv_head) + at % kPageTokens * d;
    float score = 0;
    for (int i = 0; i < d; ++i) score = fmaf(query[i], load_cached(key + i), score);
    score *= task.query_scale;
    if (task.softcap > 0) score = task.softcap * tanhf(score / task.softcap);
    scores[pass] = score;
    most = fmaxf(most, score);
  }
  most = warp_max(most);
  __syncthreads();
  if (threadIdx.x % kWarpSize == 0) scratch[threadIdx.x / kWarpSize] = most;
  __syncthreads();
  for (int warp = 0; warp < kWarps; ++warp) most = fmaxf(most, scratch[warp]);
  float sum = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const float weight = scores[pass] == -INFINITY ? 0.0f : expf(scores[pass] - most);
    weights[pass * kThreads + threadIdx.x] = weight;
    sum += weight;
  }
  sum = block_sum(sum, scratch);  // its barriers make the weights seen too
  const int parity = threadIdx.x / (kThreads / 2);
  for (int i = threadIdx.x % (kThreads / 2); i < d; i += kThreads / 2) {
    float value = 0;
    for (int at = max(begin, first) + ((max(begin, first) ^ parity) & 1);
         at < min(end, first + kSpan); at += 2) {
      const T* cached = keys_of<T>(task.kv, pages[at / kPageTokens], task.layer, kv_head) +
                        (kPageTokens + at % kPageTokens) * d;
      value = fmaf(weights[at - first], load_cached(cached + i), value);
    }
    values[parity * d + i] = value;
  }
  __syncthreads();
  return {most, sum};
}

struct Row {
  const int32_t* pages;
  int begin, end;  // positions that it sees
  int kv_head;
};

__device__ __forceinline__ Row row_of(const AttentionTask& task, int row, int head) {
  const int end = task.step.positions[row] + 1;
  const int begin = task.window > 0 ? max(0, end - task.window) : 0;
  return {task.step.blocks + task.step.block_start[task.step.row_sequence[row]], begin, end,
          head / (task.heads / task.kv.kv_heads)};
}

__device__ __forceinline__ void load_query(const AttentionTask& task, int row, int head,
                                           float* query) {
  const int d = task.kv.head_dim;
  const float* from = task.qkv + (int64_t{row} * (task.heads + 2 * task.kv.kv_heads) + head) * d;
  for (int i = threadIdx.x; i < d; i += kThreads) query[i] = from[i];
  __syncthreads();
}

// A block for each (row, head), which walks over the spans.
template <class T>
__global__ void __launch_bounds__(kThreads) attend_kernel(AttentionTask task, float* y) {
  float* shared = reinterpret_cast<float*>(shared_memory());
  const int row = blockIdx.x, head = blockIdx.y, d = task.kv.head_dim;
  const float* values = shared + d + kSpan;
  const Row r = row_of(task, row, head);
  load_query(task, row, head, shared);
  Softmax all{-INFINITY, 0};
  constexpr int kMostPerThread = 2;  // head_dim is at most 256
  float sums[kMostPerThread] = {};
  for (int first = r.begin / kSpan * kSpan; first < r.end; first += kSpan) {
    const Softmax span = attend_span<T>(task, r.pages, r.kv_head, first, r.begin, r.end, shared);
    float to_before, to_span;
    all = merge(all, span, to_before, to_span);
    for (int k = 0; k < kMostPerThread; ++k) {
      const int i = threadIdx.x + k * kThreads;
      if (i < d) sums[k] = fmaf(values[i] + values[d + i], to_span, sums[k] * to_before);
    }
  }
  for (int k = 0; k < kMostPerThread; ++k) {
    const int i = threadIdx.x + k * kThreads;
    if (i < d) y[(int64_t{row} * task.heads + head) * d + i] = sums[k] / all.sum;
  }
}

// A block for each (row, head, span).  scratch: [rows, H, spans, 2 + d]
template <class T>
__global__ void __launch_bounds__(kThreads) span_kernel(AttentionTask task, float* scratch) {
  float* shared = reinterpret_cast<float*>(shared_memory());
  const int row = blockIdx.x, head = blockIdx.y, d = task.kv.head_dim;
  const int first = blockIdx.z * kSpan;
  const float* values = shared + d + kSpan;
  float* out = scratch + ((int64_t{row} * task.heads + head) * gridDim.z + blockIdx.z) * (2 + d);
  const Row r = row_of(task, row, head);
  if (first >= r.end || first + kSpan <= r.begin) return;
  load_query(task, row, head, shared);
  const Softmax span = attend_span<T>(task, r.pages, r.kv_head, first, r.begin, r.end, shared);
  if (threadIdx.x == 0) out[0] = span.most, out[1] = span.sum;
  for (int i = threadIdx.x; i < d; i += kThreads) out[2 + i] = values[i] + values[d + i];
}

// Merges the spans of a (row, head).
__global__ void __launch_bounds__(kThreads)
    merge_kernel(AttentionTask task, int spans, const float* scratch, float* y) {
  const int row = blockIdx.x, head = blockIdx.y, d = task.kv.head_dim;
  const int64_t index = int64_t{row} * task.heads + head;
  const Row r = row_of(task, row, head);
  for (int i = threadIdx.x; i < d; i += kThreads) {
    Softmax all{-INFINITY, 0};
    float sum = 0;
    for (int span = r.begin / kSpan; span * kSpan < r.end; ++span) {
      const float* in = scratch + (index * spans + span) * (2 + d);
      float to_before, to_span;
      all = merge(all, {in[0], in[1]}, to_before, to_span);
      sum = fmaf(in[2 + i], to_span, sum * to_before);
    }
    y[index * d + i] = sum / all.sum;
  }
}

int span_count(int longest) { return (longest + kSpan - 1) / kSpan; }

}  // namespace

void rotate_and_store(const KvView& kv, int layer, const AttentionShape& shape,
                      const float* cosines, const float* sines, const PlacedStep& step, int rows,
                      const float* q_norm, const float* k_norm, float eps, float* qkv,
                      const Stream& stream) {
  if (rows == 0) return;
  const auto kernel = kv.halves ? rotate_kernel<uint16_t> : rotate_kernel<float>;
  launch(kernel, rows, kThreads, 0, stream, kv, layer, shape.heads, cosines, sines, step, q_norm,
         k_norm, eps, qkv);
}

int64_t attention_scratch(const AttentionShape& shape, int rows, int longest) {
  return int64_t{rows} * shape.heads * span_count(longest) * (2 + shape.head_dim);
}

int span_bucket(int longest) {
  return static_cast<int>(std::bit_ceil(static_cast<unsigned>(span_count(longest)))) * kSpan;
}

int most_split_rows(const AttentionShape& shape, int processors) {
  return (processors * kBlocksPerProcessor - 1) / shape.heads;
}

bool splits_spans(const AttentionShape& shape, int rows, int longest, int processors) {
  return span_count(longest) > 1 && rows <= most_split_rows(shape, processors);
}

void attention(const KvView& kv, int layer, const AttentionShape& shape, const PlacedStep& step,
               int rows, bool split, const float* qkv, float* scratch, float* y,
               const Stream& stream) {
  if (rows == 0) return;
  const AttentionTask task{.kv = kv,
                           .layer = layer,
                           .heads = shape.heads,
                           .query_scale = shape.query_scale,
                           .softcap = shape.softcap,
                           .window = shape.window,
                           .step = step,
                           .qkv = qkv};
  const size_t shared = shared_floats(shape.head_dim) * sizeof(float);
  if (!split) {
    const auto kernel = kv.halves ? attend_kernel<uint16_t> : attend_kernel<float>;
    launch(kernel, dim3(rows, shape.heads), kThreads, shared, stream, task, y);
    return;
  }
  const int spans = span_count(step.longest);
  const auto kernel = kv.halves ? span_kernel<uint16_t> : span_kernel<float>;
  launch(kernel, dim3(rows, shape.heads, spans), kThreads, shared, stream, task, scratch);
  launch(merge_kernel, dim3(rows, shape.heads), kThreads, 0, stream, task, spans, scratch, y);
}

}  // namespace smore::cuda
