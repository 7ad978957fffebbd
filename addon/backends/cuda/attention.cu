#include "backends/cuda/attention.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "backends/cuda/attention_task.h"
#include "backends/cuda/attention_tensor.h"
#include "backends/cuda/warp.h"

namespace smore::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kPasses = kSpan / kThreads;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kBlocksPerProcessor = 8;  // where a step has fewer, spans get their own
constexpr int kGroup = 8;  // rows that share what a block reads, in steps of more than kFewRows

// What a score of the largest plus x weighs of that one.
struct PowerOfE {
  __device__ __forceinline__ float operator()(float x) const { return expf(x); }
};

__device__ __forceinline__ float load_cached(const float* at) { return *at; }
__device__ __forceinline__ float load_cached(const uint16_t* at) { return half_bits_to_float(*at); }
__device__ __forceinline__ void store_cached(float value, float* at) { *at = value; }
__device__ __forceinline__ void store_cached(float value, uint16_t* at) {
  *at = float_to_half_bits(value);
}

// Eight cached values in as few loads as there are, from an address that is a multiple of them.
constexpr int kLoaded = 8;
__device__ __forceinline__ void load_eight(const float* at, float values[kLoaded]) {
  for (int i = 0; i < 2; ++i) {
    const float4 four = reinterpret_cast<const float4*>(at)[i];
    values[4 * i] = four.x, values[4 * i + 1] = four.y;
    values[4 * i + 2] = four.z, values[4 * i + 3] = four.w;
  }
}
__device__ __forceinline__ void load_eight(const uint16_t* at, float values[kLoaded]) {
  const uint4 words = *reinterpret_cast<const uint4*>(at);
  const unsigned pairs[] = {words.x, words.y, words.z, words.w};
  for (int i = 0; i < kLoaded; ++i) {
    values[i] = half_bits_to_float(static_cast<uint16_t>(pairs[i / 2] >> (i % 2 * 16)));
  }
}

// sums[r] = query[r] . key, each in rising order.  query: [kRows, d], aligned to 16
template <class T, int kRows>
__device__ __forceinline__ void dots(const float* query, const T* key, int d, float sums[kRows]) {
  for (int r = 0; r < kRows; ++r) sums[r] = 0;
  if (d % kLoaded != 0) {
    for (int i = 0; i < d; ++i) {
      const float value = load_cached(key + i);
      for (int r = 0; r < kRows; ++r) sums[r] = fmaf(query[r * d + i], value, sums[r]);
    }
    return;
  }
  for (int i = 0; i < d; i += kLoaded) {
    float values[kLoaded];
    load_eight(key + i, values);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float wanted[kLoaded];
      load_eight(query + r * d + i, wanted);
#pragma unroll
      for (int j = 0; j < kLoaded; ++j) sums[r] = fmaf(wanted[j], values[j], sums[r]);
    }
  }
}

// Whether values of a head are finite as they are cached. A lane looks at its own.
template <class T>
__device__ __forceinline__ bool cached_finite(const float* values, int d) {
  if constexpr (std::is_same_v<T, float>) return true;
  constexpr int kExponent = 0x7c00;
  bool finite = true;
  for (int i = threadIdx.x % kWarpSize; i < d; i += kWarpSize) {
    finite = finite && (float_to_half_bits(values[i]) & kExponent) != kExponent;
  }
  return finite;
}

// A warp for each head of a row. Tensor cores multiply the values of positions that a row does not
// see too, with a weight of 0: float16 values that are not all finite are cached as zeros, and
// their key as no number, so that a row that sees them is none either and the others stay as they
// are.
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
    bool finite = true;  // the values
    if (head >= heads) {
      const float* values = is_value ? x : x + int64_t{kv.kv_heads} * d;
      finite = __ballot_sync(kAllLanes, !cached_finite<T>(values, d)) == 0;
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
      if (!finite) a = b = is_value ? 0.0f : nanf("");
      store_cached(a, keys + i);
      store_cached(b, keys + i + half);
    }
  }
}

// Rows of one sequence that a block attends for one head.
template <int kRows>
struct Rows {
  const int32_t* pages;
  int kv_head;
  int begin[kRows], end[kRows];  // positions that each sees
  int any_begin, any_end;        // that one of them sees
  int all_begin, all_end;        // that all of them see, if any
};

// Rows from `first` on; the step's last row again beyond it.
template <int kRows>
__device__ __forceinline__ Rows<kRows> rows_of(const AttentionTask& task, int first, int rows,
                                               int head) {
  Rows<kRows> seen;
  seen.pages = task.step.blocks + task.step.block_start[task.step.row_sequence[first]];
  seen.kv_head = head / (task.heads / task.kv.kv_heads);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const auto [begin, end] = sight_of(task, min(first + r, rows - 1));
    seen.begin[r] = begin, seen.end[r] = end;
    seen.any_begin = r == 0 ? begin : min(seen.any_begin, begin);
    seen.all_begin = r == 0 ? begin : max(seen.all_begin, begin);
    seen.any_end = r == 0 ? end : max(seen.any_end, end);
    seen.all_end = r == 0 ? end : min(seen.all_end, end);
  }
  return seen;
}

// Shared memory of a block, a float each: queries [kRows, d], weights of a span [kSpan, kRows],
// values of its two halves [2, kRows, d], what warps tell each other [kWarps, kRows].
int shared_floats(int head_dim, int rows) {
  return rows * (head_dim + kSpan + 2 * head_dim + kWarps);
}

template <int kRows>
struct Shared {
  __device__ explicit Shared(int d)
      : queries(reinterpret_cast<float*>(shared_memory())),
        weights(queries + kRows * d),
        values(weights + kRows * kSpan),
        scratch(values + kRows * 2 * d) {}
  float* queries;
  float* weights;
  float* values;
  float* scratch;
};

// values[r] += the weights of positions [from, to) of every other one times their values, column i.
template <class T, int kRows, bool kSeenByAll>
__device__ __forceinline__ void add_values(const AttentionTask& task, const Rows<kRows>& rows,
                                           const float* weights, int first, int from, int to,
                                           int parity, int i, float values[kRows]) {
  const int d = task.kv.head_dim;
  for (int at = from + ((from ^ parity) & 1); at < to; at += 2) {
    const T* cached = keys_of<T>(task.kv, rows.pages[at / kPageTokens], task.layer, rows.kv_head) +
                      (kPageTokens + at % kPageTokens) * d;
    const float value = load_cached(cached + i);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (!kSeenByAll && (at < rows.begin[r] || at >= rows.end[r])) continue;
      values[r] = fmaf(weights[(at - first) * kRows + r], value, values[r]);
    }
  }
}

// Attends one span for one head of some rows. Every thread learns the softmax of each; values in
// shared memory get the sums. Even positions of the span are summed beside the odd ones, then both
// added. What a row gets does not depend on the others.
template <class T, int kRows>
__device__ __forceinline__ void attend_span(const AttentionTask& task, const Rows<kRows>& rows,
                                            int first, const Shared<kRows>& shared,
                                            Softmax softmax[kRows]) {
  const int d = task.kv.head_dim;
  const int warp = threadIdx.x / kWarpSize;
  float most[kRows], scores[kPasses][kRows];
  for (int r = 0; r < kRows; ++r) most[r] = -INFINITY;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int at = first + pass * kThreads + static_cast<int>(threadIdx.x);
    for (int r = 0; r < kRows; ++r) scores[pass][r] = -INFINITY;
    if (at < rows.any_begin || at >= rows.any_end) continue;
    const T* key = keys_of<T>(task.kv, rows.pages[at / kPageTokens], task.layer, rows.kv_head) +
                   at % kPageTokens * d;
    float sums[kRows];
    dots<T, kRows>(shared.queries, key, d, sums);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (at < rows.begin[r] || at >= rows.end[r]) continue;
      float score = sums[r] * task.query_scale;
      if (task.softcap > 0) score = task.softcap * tanhf(score / task.softcap);
      scores[pass][r] = score;
      most[r] = fmaxf(most[r], score);
    }
  }
  for (int r = 0; r < kRows; ++r) most[r] = warp_max(most[r]);
  __syncthreads();  // the span before has been read
  if (threadIdx.x % kWarpSize == 0) {
    for (int r = 0; r < kRows; ++r) shared.scratch[warp * kRows + r] = most[r];
  }
  __syncthreads();
  for (int r = 0; r < kRows; ++r) {
    for (int other = 0; other < kWarps; ++other) {
      most[r] = fmaxf(most[r], shared.scratch[other * kRows + r]);
    }
    float sum = 0;
    for (int pass = 0; pass < kPasses; ++pass) {
      const float score = scores[pass][r];
      const float weight = score == -INFINITY ? 0.0f : expf(score - most[r]);
      shared.weights[(pass * kThreads + threadIdx.x) * kRows + r] = weight;
      sum += weight;
    }
    softmax[r] = {most[r], warp_sum(sum)};
  }
  __syncthreads();
  if (threadIdx.x % kWarpSize == 0) {
    for (int r = 0; r < kRows; ++r) shared.scratch[warp * kRows + r] = softmax[r].sum;
  }
  __syncthreads();  // the weights are seen too
  for (int r = 0; r < kRows; ++r) {
    softmax[r].sum = 0;
    for (int other = 0; other < kWarps; ++other) {
      softmax[r].sum += shared.scratch[other * kRows + r];
    }
  }
  const int parity = threadIdx.x / (kThreads / 2);
  const int begin = max(rows.any_begin, first), end = min(rows.any_end, first + kSpan);
  const int all_begin = min(max(rows.all_begin, begin), end);
  const int all_end = max(min(rows.all_end, end), all_begin);
  for (int i = threadIdx.x % (kThreads / 2); i < d; i += kThreads / 2) {
    float values[kRows] = {};
    const float* weights = shared.weights;
    add_values<T, kRows, false>(task, rows, weights, first, begin, all_begin, parity, i, values);
    add_values<T, kRows, true>(task, rows, weights, first, all_begin, all_end, parity, i, values);
    add_values<T, kRows, false>(task, rows, weights, first, all_end, end, parity, i, values);
    for (int r = 0; r < kRows; ++r) shared.values[(parity * kRows + r) * d + i] = values[r];
  }
  __syncthreads();
}

template <int kRows>
__device__ __forceinline__ void load_queries(const AttentionTask& task, int first, int rows,
                                             int head, float* queries) {
  const int d = task.kv.head_dim;
  for (int r = 0; r < kRows; ++r) {
    const int row = min(first + r, rows - 1);
    const float* from = task.qkv + (int64_t{row} * (task.heads + 2 * task.kv.kv_heads) + head) * d;
    for (int i = threadIdx.x; i < d; i += kThreads) queries[r * d + i] = from[i];
  }
  __syncthreads();
}

// Walks over the spans for rows [first, first + kRows) of one sequence, as far as there are.
template <class T, int kRows>
__device__ __forceinline__ void attend_rows(const AttentionTask& task, int first_row, int rows,
                                            int head, float* y) {
  const int d = task.kv.head_dim;
  const Shared<kRows> shared(d);
  const Rows<kRows> seen = rows_of<kRows>(task, first_row, rows, head);
  load_queries<kRows>(task, first_row, rows, head, shared.queries);
  constexpr int kMostPerThread = 2;  // head_dim is at most 256
  Softmax all[kRows];
  for (int r = 0; r < kRows; ++r) all[r] = {-INFINITY, 0};
  float sums[kRows][kMostPerThread] = {};
  for (int first = seen.any_begin / kSpan * kSpan; first < seen.any_end; first += kSpan) {
    Softmax span[kRows];
    attend_span<T, kRows>(task, seen, first, shared, span);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (first >= seen.end[r] || first + kSpan <= seen.begin[r]) continue;
      float to_before, to_span;
      all[r] = merge(all[r], span[r], PowerOfE(), to_before, to_span);
      for (int k = 0; k < kMostPerThread; ++k) {
        const int i = threadIdx.x + k * kThreads;
        if (i >= d) continue;
        const float value = shared.values[r * d + i] + shared.values[(kRows + r) * d + i];
        sums[r][k] = fmaf(value, to_span, sums[r][k] * to_before);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (first_row + r >= rows) continue;
    for (int k = 0; k < kMostPerThread; ++k) {
      const int i = threadIdx.x + k * kThreads;
      if (i >= d) continue;
      y[(int64_t{first_row + r} * task.heads + head) * d + i] = sums[r][k] / all[r].sum;
    }
  }
}

// A block for each (row, head).
template <class T>
__global__ void __launch_bounds__(kThreads) attend_kernel(AttentionTask task, int rows, float* y) {
  attend_rows<T, 1>(task, blockIdx.x, rows, blockIdx.y, y);
}

// A block for each (kGroup rows, head). Where they are of several sequences it takes them in turns.
template <class T>
__global__ void __launch_bounds__(kThreads)
    attend_group_kernel(AttentionTask task, int rows, float* y) {
  const int first = static_cast<int>(blockIdx.x) * kGroup, end = min(rows, first + kGroup);
  const int32_t* sequence = task.step.row_sequence;
  if (sequence[first] == sequence[end - 1]) {
    return attend_rows<T, kGroup>(task, first, rows, blockIdx.y, y);
  }
  for (int row = first; row < end; ++row) {
    __syncthreads();  // the row before has been read
    attend_rows<T, 1>(task, row, rows, blockIdx.y, y);
  }
}

// A block for each (row, head, span).  scratch: [rows, H, spans, 2 + d]
template <class T>
__global__ void __launch_bounds__(kThreads)
    span_kernel(AttentionTask task, int rows, float* scratch) {
  const int row = blockIdx.x, head = blockIdx.y, d = task.kv.head_dim;
  const int first = blockIdx.z * kSpan;
  const Shared<1> shared(d);
  float* out = span_sums(task, row, head, blockIdx.z, gridDim.z, scratch);
  const Rows<1> seen = rows_of<1>(task, row, rows, head);
  if (first >= seen.any_end || first + kSpan <= seen.any_begin) return;
  load_queries<1>(task, row, rows, head, shared.queries);
  Softmax span[1];
  attend_span<T, 1>(task, seen, first, shared, span);
  if (threadIdx.x == 0) out[0] = span[0].most, out[1] = span[0].sum;
  for (int i = threadIdx.x; i < d; i += kThreads) {
    out[2 + i] = shared.values[i] + shared.values[d + i];
  }
}

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
  constexpr int kMostSpans = 65535;  // blocks of a grid that way
  const int spans = span_count(longest);
  return spans > 1 && spans <= kMostSpans && rows <= most_split_rows(shape, processors);
}

void attention(const KvView& kv, int layer, const AttentionShape& shape, const PlacedStep& step,
               int rows, bool split, const float* qkv, float* scratch, float* y,
               const Stream& stream) {
  if (rows == 0) return;
  if (by_tensor_cores(kv, shape)) {
    return tensor_attention(kv, layer, shape, step, rows, split, qkv, scratch, y, stream);
  }
  const AttentionTask task{.kv = kv,
                           .layer = layer,
                           .heads = shape.heads,
                           .query_scale = shape.query_scale,
                           .softcap = shape.softcap,
                           .window = shape.window,
                           .step = step,
                           .qkv = qkv};
  const auto shared = [&](int rows_at_once) {
    return shared_floats(shape.head_dim, rows_at_once) * sizeof(float);
  };
  if (!split && rows > kFewRows) {
    const auto kernel = kv.halves ? attend_group_kernel<uint16_t> : attend_group_kernel<float>;
    const dim3 grid((rows + kGroup - 1) / kGroup, shape.heads);
    return launch(kernel, grid, kThreads, shared(kGroup), stream, task, rows, y);
  }
  if (!split) {
    const auto kernel = kv.halves ? attend_kernel<uint16_t> : attend_kernel<float>;
    return launch(kernel, dim3(rows, shape.heads), kThreads, shared(1), stream, task, rows, y);
  }
  const int spans = span_count(step.longest);
  const auto kernel = kv.halves ? span_kernel<uint16_t> : span_kernel<float>;
  launch(kernel, dim3(rows, shape.heads, spans), kThreads, shared(1), stream, task, rows, scratch);
  launch(merge_kernel<PowerOfE>, dim3(rows, shape.heads), kThreads, 0, stream, task, PowerOfE(),
         spans, scratch, y);
}

}  // namespace smore::cuda
