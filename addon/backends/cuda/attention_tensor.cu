#include "backends/cuda/attention_tensor.h"

#include <algorithm>
#include <bit>

#include "backends/cuda/attention_task.h"
#include "backends/cuda/blockwise.h"
#include "tensor_core.h"

// A slot is a row and one of the heads that share its keys. 16 slots are the rows of a warp's
// products, so that a key is read once for all heads, and for several rows of a sequence. What a
// slot gets does not depend on the others beside it: positions are taken in tiles, which are summed
// in rising order, and a tile of which it sees nothing leaves its sums as they are.

namespace smore::cuda {
namespace {

constexpr int kWarpSlots = 16;
constexpr int kTile = 32;    // positions that are read and multiplied at once
constexpr int kPadding = 8;  // behind each key and value: eight of them meet in no bank
constexpr int kChunk = 8;    // halves that a thread copies at once
constexpr int kManyWarps = 4;
constexpr int kMergeThreads = 128;

static_assert(kSpan % kTile == 0 && kTile % kPageTokens == 0);

// Keys and values of a tile in shared memory, in float16.
template <int kDim>
struct Tile {
  static constexpr int kStride = kDim + kPadding;
  uint16_t keys[kTile][kStride];
  uint16_t values[kTile][kStride];
};

// Weights by scores that are products of query and key, not yet scaled.
struct PowerOfTwo {
  float unit;  // log2(e) times what scales a score
  __device__ __forceinline__ float operator()(float x) const { return exp2_approximate(x * unit); }
};

// Rows of one sequence.
struct RowTile {
  int first, rows;
};

// Tile `index` of a step whose tiles have at most `most` rows; none beyond the last.
__device__ __forceinline__ RowTile tile_at(const PlacedStep& step, int index, int most) {
  int before = 0;
  for (int base = 0; base < step.sequences; base += kWarpSize) {
    const int sequence = base + lane();
    const bool there = sequence < step.sequences;
    const int first = there ? step.row_start[sequence] : 0;
    const int rows = there ? step.row_start[sequence + 1] - first : 0;
    const int tiles = (rows + most - 1) / most;
    const int upto = before + static_cast<int>(warp_running_sum(tiles));
    const unsigned holders = __ballot_sync(kAllLanes, index < upto);
    if (holders != 0) {
      const int holder = __ffs(static_cast<int>(holders)) - 1;
      const int skipped = (index - __shfl_sync(kAllLanes, upto - tiles, holder)) * most;
      const int left = __shfl_sync(kAllLanes, rows, holder) - skipped;
      return {__shfl_sync(kAllLanes, first, holder) + skipped, min(most, left)};
    }
    before = __shfl_sync(kAllLanes, upto, kWarpSize - 1);
  }
  return {0, 0};
}

// What a block attends: rows of a sequence for the heads of one KV head.
struct BlockTask {
  RowTile rows;
  const int32_t* pages;
  const uint16_t* keys;  // of page 0
  int page_stride;       // halves
  int kv_head;
  int begin, end;  // positions that some row sees
};

// The slots of a lane: lane / 4 of its warp's, and 8 further.
struct Slots {
  int row[2], head[2];
  bool used[2];   // the others repeat some row and go nowhere
  Sight seen[2];  // positions
  Sight by_any;   // slot of the warp
  Sight by_all;
};

__device__ __forceinline__ Slots slots_of(const AttentionTask& task, const BlockTask& block) {
  const int group = task.heads / task.kv.kv_heads;
  const int warp_first = warp() * kWarpSlots;
  const auto row_of = [&](int slot) {
    return block.rows.first + min(slot / group, block.rows.rows - 1);
  };
  Slots slots;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int slot = warp_first + lane() / 4 + 8 * r;
    slots.row[r] = row_of(slot);
    slots.head[r] = block.kv_head * group + slot % group;
    slots.used[r] = slot < block.rows.rows * group;
    slots.seen[r] = sight_of(task, slots.row[r]);
  }
  const Sight first = sight_of(task, row_of(warp_first));
  const Sight last = sight_of(task, row_of(warp_first + kWarpSlots - 1));
  slots.by_any = {first.begin, last.end};
  slots.by_all = {last.begin, first.end};
  if (warp_first >= block.rows.rows * group) slots.by_any = {0, 0};
  return slots;
}

// Sums of a warp's slots over some positions. A lane has those of its two slots.
template <int kDim>
struct Sums {
  float most[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};
  FragmentC values[kDim / 8] = {};
};

template <int kDim>
__device__ __forceinline__ void load_queries(const AttentionTask& task, const Slots& slots,
                                             FragmentA queries[kDim / 16]) {
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int heads = task.heads + 2 * task.kv.kv_heads;
      const int64_t head = int64_t{slots.row[i % 2]} * heads + slots.head[i % 2];
      const int column = s * 16 + i / 2 * 8 + lane() % 4 * 2;
      const float2 pair = *reinterpret_cast<const float2*>(task.qkv + head * kDim + column);
      queries[s].x[i] = pack_halves(pair.x, pair.y);
    }
  }
}

// Begins to copy positions [first, first + kTile). Zeros stand for those that no row sees, where
// there may be anything.
template <int kDim, int kWarps>
__device__ __forceinline__ void begin_tile(const BlockTask& block, int first, Tile<kDim>& to) {
  constexpr int kThreadsOfKey = kDim / kChunk;
  constexpr int kAtOnce = std::bit_floor(unsigned{kWarps * kWarpSize / kThreadsOfKey});  // keys
  static_assert(kPageTokens % kAtOnce == 0);
  const int own = static_cast<int>(threadIdx.x) / kThreadsOfKey;
  const int column = static_cast<int>(threadIdx.x) % kThreadsOfKey * kChunk;
  if (own >= kAtOnce) return;
#pragma unroll
  for (int page = 0; page < kTile; page += kPageTokens) {
    const int index = min(first + page, block.end - 1) / kPageTokens;
    const uint16_t* from =
        block.keys + int64_t{block.pages[index]} * block.page_stride + own * kDim + column;
#pragma unroll
    for (int key = 0; key < kPageTokens; key += kAtOnce) {
      const int position = first + page + key + own;
      const bool seen = position >= block.begin && position < block.end;
      copy_async(&to.keys[page + key + own][column], from + key * kDim, seen);
      copy_async(&to.values[page + key + own][column], from + (kPageTokens + key) * kDim, seen);
    }
  }
}

// scores[n]: of the slots with keys [8 n, 8 n + 8) of the tile
template <int kDim>
__device__ __forceinline__ void multiply_keys(const FragmentA queries[kDim / 16],
                                              const Tile<kDim>& tile, FragmentC scores[kTile / 8]) {
  const int key = lane() / 16 * 8 + lane() % 8, column = lane() / 8 % 2 * 8;
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) {
#pragma unroll
    for (int n = 0; n < kTile / 16; ++n) {
      unsigned x[4];
      load_matrices(x, &tile.keys[n * 16 + key][s * 16 + column]);
      multiply_accumulate_halves(scores[2 * n], queries[s], {x[0], x[1]});
      multiply_accumulate_halves(scores[2 * n + 1], queries[s], {x[2], x[3]});
    }
  }
}

template <int kDim>
__device__ __forceinline__ void add_values(const FragmentA weights[kTile / 16],
                                           const Tile<kDim>& tile, FragmentC values[kDim / 8]) {
  const int key = lane() % 16, column = lane() / 16 * 8;
#pragma unroll
  for (int k = 0; k < kTile / 16; ++k) {
#pragma unroll
    for (int n = 0; n < kDim / 16; ++n) {
      unsigned x[4];
      load_transposed(x, &tile.values[k * 16 + key][n * 16 + column]);
      multiply_accumulate_halves(values[2 * n], weights[k], {x[0], x[1]});
      multiply_accumulate_halves(values[2 * n + 1], weights[k], {x[2], x[3]});
    }
  }
}

// Caps the scores, and makes those of positions that a slot does not see -INFINITY.
__device__ __forceinline__ void limit_scores(const AttentionTask& task, const Slots& slots,
                                             int first, FragmentC scores[kTile / 8]) {
  if (task.softcap > 0) {
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
      for (float& score : scores[n].x) {
        score = task.softcap * tanhf(score * task.query_scale / task.softcap);
      }
    }
  }
  if (first >= slots.by_all.begin && first + kTile <= slots.by_all.end) return;
#pragma unroll
  for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int position = first + n * 8 + lane() % 4 * 2 + i % 2;
      const Sight& seen = slots.seen[i / 2];
      if (position < seen.begin || position >= seen.end) scores[n].x[i] = -INFINITY;
    }
  }
}

// Adds the weights of a tile's scores to the sums and scales what was summed by smaller maxima.
// Scores become weights.
template <int kDim>
__device__ __forceinline__ void weigh(PowerOfTwo power, FragmentC scores[kTile / 8],
                                      Sums<kDim>& sums) {
  float scale[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = sums.most[r];
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
      most = fmaxf(most, fmaxf(scores[n].x[2 * r], scores[n].x[2 * r + 1]));
    }
    for (int bits = 1; bits < 4; bits *= 2) {
      most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, bits));
    }
    const float base = most == -INFINITY ? 0.0f : most * power.unit;
    scale[r] =
        most == sums.most[r] ? 1.0f : exp2_approximate(fmaf(sums.most[r], power.unit, -base));
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        scores[n].x[i] = exp2_approximate(fmaf(scores[n].x[i], power.unit, -base));
        sum += scores[n].x[i];
      }
    }
    sums.most[r] = most;
    sums.sum[r] = fmaf(sums.sum[r], scale[r], sum);
  }
  // Maxima grow seldom once there is one.
  if (__ballot_sync(kAllLanes, scale[0] != 1 || scale[1] != 1) == 0) return;
#pragma unroll
  for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums.values[n].x[i] *= scale[i / 2];
  }
}

template <int kDim>
__device__ __forceinline__ void attend_tile(const AttentionTask& task, PowerOfTwo power,
                                            const Slots& slots, int first,
                                            const FragmentA queries[kDim / 16],
                                            const Tile<kDim>& tile, Sums<kDim>& sums) {
  FragmentC scores[kTile / 8] = {};
  multiply_keys<kDim>(queries, tile, scores);
  limit_scores(task, slots, first, scores);
  weigh<kDim>(power, scores, sums);
  FragmentA weights[kTile / 16];
#pragma unroll
  for (int k = 0; k < kTile / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* pair = scores[2 * k + i / 2].x + i % 2 * 2;
      weights[k].x[i] = pack_halves(pair[0], pair[1]);
    }
  }
  add_values<kDim>(weights, tile, sums.values);
}

// Merges a span into those before it, and begins the next.
template <int kDim>
__device__ __forceinline__ void end_span(PowerOfTwo power, Sums<kDim>& span, Sums<kDim>& all) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    for (int bits = 1; bits < 4; bits *= 2) {
      span.sum[r] += __shfl_xor_sync(kAllLanes, span.sum[r], bits);
    }
    float to_before, to_span;
    const Softmax merged =
        merge({all.most[r], all.sum[r]}, {span.most[r], span.sum[r]}, power, to_before, to_span);
    all.most[r] = merged.most, all.sum[r] = merged.sum;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        all.values[n].x[i] = fmaf(span.values[n].x[i], to_span, all.values[n].x[i] * to_before);
      }
    }
  }
  span = {};
}

template <int kDim>
__device__ __forceinline__ void store(const AttentionTask& task, const Slots& slots,
                                      const Sums<kDim>& all, int spans, float* scratch, float* y) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (!slots.used[r]) continue;
    float* to = y + (int64_t{slots.row[r]} * task.heads + slots.head[r]) * kDim;
    float divisor = all.sum[r];
    if (spans > 0) {
      to = span_sums(task, slots.row[r], slots.head[r], blockIdx.z, spans, scratch);
      if (lane() % 4 == 0) to[0] = all.most[r], to[1] = all.sum[r];
      to += 2;
      divisor = 1;
    }
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<float2*>(to + n * 8 + lane() % 4 * 2) =
          make_float2(all.values[n].x[2 * r] / divisor, all.values[n].x[2 * r + 1] / divisor);
    }
  }
}

// A block for each (tile of rows, KV head), later rows first, as those take longest; and for each
// span, where spans are not 0.  scratch: [rows, H, spans, 2 + d]
template <int kDim, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarpSize, kWarps == 1 ? 8 : 2)
    tensor_kernel(AttentionTask task, PowerOfTwo power, int spans, float* scratch, float* y) {
  const int most_rows = kWarps * kWarpSlots / (task.heads / task.kv.kv_heads);
  BlockTask block;
  block.rows = tile_at(task.step, static_cast<int>(gridDim.x - 1 - blockIdx.x), most_rows);
  if (block.rows.rows == 0) return;
  block.pages = task.step.blocks + task.step.block_start[task.step.row_sequence[block.rows.first]];
  block.kv_head = blockIdx.y;
  block.keys = keys_of<uint16_t>(task.kv, 0, task.layer, block.kv_head);
  block.page_stride = task.kv.layers * task.kv.kv_heads * 2 * kPageTokens * kDim;
  block.begin = sight_of(task, block.rows.first).begin;
  block.end = sight_of(task, block.rows.first + block.rows.rows - 1).end;
  if (spans > 0) {
    const int first = static_cast<int>(blockIdx.z) * kSpan;
    block.begin = max(block.begin, first);
    block.end = min(block.end, first + kSpan);
    if (block.begin >= block.end) return;
  }
  auto* tiles = reinterpret_cast<Tile<kDim>*>(shared_memory());
  int first = block.begin / kTile * kTile;
  begin_tile<kDim, kWarps>(block, first, tiles[0]);
  const Slots slots = slots_of(task, block);
  FragmentA queries[kDim / 16];
  load_queries<kDim>(task, slots, queries);
  Sums<kDim> span, all;
  for (int turn = 0; first < block.end; turn ^= 1, first += kTile) {
    await_copies();
    __syncthreads();  // of all threads; and the tile before has been read
    const int next = first + kTile;
    if (next < block.end) begin_tile<kDim, kWarps>(block, next, tiles[turn ^ 1]);
    if (first < slots.by_any.end && next > slots.by_any.begin) {
      attend_tile<kDim>(task, power, slots, first, queries, tiles[turn], span);
    }
    if (next % kSpan == 0 || next >= block.end) end_span<kDim>(power, span, all);
  }
  store<kDim>(task, slots, all, spans, scratch, y);
}

template <int kDim, int kWarps>
void launch_tensor(const AttentionTask& task, PowerOfTwo power, unsigned tiles, int spans,
                   float* scratch, float* y, const Stream& stream) {
  const dim3 grid(tiles, task.kv.kv_heads, std::max(1, spans));
  launch(tensor_kernel<kDim, kWarps>, grid, kWarps * kWarpSize, 2 * sizeof(Tile<kDim>), stream,
         task, power, spans, scratch, y);
}

template <int kDim>
struct HeadDim {
  static constexpr int value = kDim;
};

// Calls fn with a head dimension as a constant; false where there is none for it.
template <class Fn>
bool with_head_dim(int head_dim, Fn&& fn) {
  switch (head_dim) {
    case 64:
      return fn(HeadDim<64>{}), true;
    case 96:
      return fn(HeadDim<96>{}), true;
    case 128:
      return fn(HeadDim<128>{}), true;
  }
  return false;
}

}  // namespace

bool by_tensor_cores(const KvView& kv, const AttentionShape& shape) {
  return kv.halves && shape.heads / shape.kv_heads <= kManyWarps * kWarpSlots &&
         with_head_dim(shape.head_dim, [](auto) {});
}

void tensor_attention(const KvView& kv, int layer, const AttentionShape& shape,
                      const PlacedStep& step, int rows, bool split, const float* qkv,
                      float* scratch, float* y, const Stream& stream) {
  constexpr float kLog2E = 1.44269504f;
  const AttentionTask task{.kv = kv,
                           .layer = layer,
                           .heads = shape.heads,
                           .query_scale = shape.query_scale,
                           .softcap = shape.softcap,
                           .window = shape.window,
                           .step = step,
                           .qkv = qkv};
  const PowerOfTwo power{kLog2E * (shape.softcap > 0 ? 1.0f : shape.query_scale)};
  const int spans = split ? span_count(step.longest) : 0;
  const int group = shape.heads / shape.kv_heads;
  with_head_dim(shape.head_dim, [&](auto dim) {
    // At least as many tiles as there are.
    if (rows <= kFewRows && group <= kWarpSlots) {
      launch_tensor<dim.value, 1>(task, power, rows, spans, scratch, y, stream);
    } else {
      const int most_rows = kManyWarps * kWarpSlots / group;
      const unsigned tiles = rows <= kFewRows ? rows : rows / most_rows + step.sequences;
      launch_tensor<dim.value, kManyWarps>(task, power, tiles, spans, scratch, y, stream);
    }
  });
  if (!split) return;
  launch(merge_kernel<PowerOfTwo>, dim3(rows, shape.heads), kMergeThreads, 0, stream, task, power,
         spans, scratch, y);
}

}  // namespace smore::cuda
