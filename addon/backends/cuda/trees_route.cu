#include "backends/cuda/trees.h"
#include "backends/cuda/trees_product.h"

// Top-down half: the projected token, what each node chooses, and the pairs that follow. All of it
// in float32 whatever the weights are stored in.

namespace smore::cuda {
namespace {

// Inputs are split over the warps of a block, as there are many of them and few outputs.
template <int kRows>
__device__ void project_tile(const Work& work, int first_row, int rows, int first_out,
                             float* parts) {
  const LinearPlan& linear = *work.linear;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const float* x[kRows];
  float sum[kRows] = {};
  for (int i = 0; i < kRows; ++i) {
    x[i] = work.x + work.rows[first_row + min(i, rows - 1)] * work.x_stride;
  }
  const int share = ((linear.inputs + kWarps - 1) / kWarps + 1) / 2 * 2;
  const int from = min(warp * share, linear.inputs);
  const int to = min(from + share, linear.inputs);
  const int out = first_out + lane;
  if (out < linear.projection) {
    add_panel_sums<kRows>(work.trunk, linear.projected, linear.inputs, out, x, from, to, sum);
  }
  for (int i = 0; i < kRows; ++i) parts[(warp * kRows + i) * kWarpSize + lane] = sum[i];
  __syncthreads();
  for (int i = warp; i < rows && out < linear.projection; i += kWarps) {
    float total = bias_of(work.trunk, linear.projected_bias, out);
    for (int w = 0; w < kWarps; ++w) total += parts[(w * kRows + i) * kWarpSize + lane];
    work.token[int64_t{first_row + i} * linear.projection + out] = total;
  }
}

__global__ void __launch_bounds__(kThreads) project_kernel(const Work* works, int count) {
  __shared__ float parts[kWarps * kTile * kWarpSize];
  const auto [work, block] = my_work(works, count, kProject);
  if (work.linear == nullptr) return;
  const int chunks = (work.linear->projection + kOutputTile - 1) / kOutputTile;
  const int first_row = block / chunks * kTile;
  const int first_out = block % chunks * kOutputTile;
  const int rows = min(kTile, work.count - first_row);
  if (rows == 1) {
    project_tile<1>(work, first_row, rows, first_out, parts);
  } else {
    project_tile<kTile>(work, first_row, rows, first_out, parts);
  }
}

// One row of products for the running warp: y[out] = W[out] x + bias.
__device__ void warp_product(const Work& work, const BlockSlot& w, const BlockSlot& bias,
                             const float* x, int in, int outs, float* y) {
  const float* rows[1] = {x};
  for (int out = static_cast<int>(threadIdx.x) % kWarpSize; out < outs; out += kWarpSize) {
    float sum[1] = {};
    add_panel_sums<1>(work.trunk, w, in, out, rows, 0, in, sum);
    y[out] = sum[0] + bias_of(work.trunk, bias, out);
  }
  __syncwarp();
}

__device__ void warp_softmax(float* values, int count, float temperature) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float largest = -INFINITY;
  for (int i = lane; i < count; i += kWarpSize) largest = fmaxf(largest, values[i]);
  largest = warp_max(largest);
  float sum = 0;
  for (int i = lane; i < count; i += kWarpSize) {
    values[i] = expf((values[i] - largest) / temperature);
    sum += values[i];
  }
  sum = warp_sum(sum);
  for (int i = lane; i < count; i += kWarpSize) values[i] /= sum;
  __syncwarp();
}

__device__ void warp_normalise(float* values, int count) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float square = 0;
  for (int i = lane; i < count; i += kWarpSize) square = fmaf(values[i], values[i], square);
  const float norm = fmaxf(sqrtf(warp_sum(square)), 1e-12f);
  for (int i = lane; i < count; i += kWarpSize) values[i] /= norm;
  __syncwarp();
}

struct Best {
  float value;
  int expert;  // -1 = none
};

// Of equal values the lower expert. What is not a number compares with nothing.
__device__ inline Best better(Best a, Best b) {
  if (a.expert < 0 || b.expert < 0) return a.expert < 0 ? b : a;
  if (a.value == b.value) return a.expert < b.expert ? a : b;
  return b.value > a.value ? b : a;
}

// The experts of the largest values in falling order, with these. Always as many, and each once,
// also of values that are no numbers.
__device__ void warp_largest(const float* values, int count, int chosen, float* taken, int32_t* ids,
                             float* scores) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int e = lane; e < count; e += kWarpSize) taken[e] = 0;
  for (int j = 0; j < chosen; ++j) {
    Best best{0, -1};
    for (int e = lane; e < count; e += kWarpSize) {
      if (taken[e] == 0) best = better(best, {values[e], e});
    }
    for (int bits = kWarpSize / 2; bits > 0; bits /= 2) {
      const Best other{__shfl_xor_sync(kAllLanes, best.value, bits),
                       __shfl_xor_sync(kAllLanes, best.expert, bits)};
      // Both lanes of an exchange decide alike.
      best = (lane & bits) == 0 ? better(best, other) : better(other, best);
    }
    if (lane != best.expert % kWarpSize) continue;
    taken[best.expert] = 1;
    ids[j] = best.expert;
    scores[j] = best.value;
  }
  __syncwarp();
}

__device__ void exclude(const Work& work, int l, float* values) {
  if (work.bans == nullptr) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int i = work.bans[l] + lane; i < work.bans[l + 1]; i += kWarpSize) {
    values[work.bans[i]] = -INFINITY;
  }
  __syncwarp();
}

// A node's choice from the products with the keys, which are overwritten.
__device__ void choose(const Work& work, int l, float* logits, float* taken, int32_t* ids,
                       float* scores) {
  const LevelPlan& level = work.linear->levels[l];
  const RouterPlan& router = level.router;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  exclude(work, l, logits);
  if (router.score == Score::kSoftmax) {
    warp_softmax(logits, level.experts, work.temperature);
    exclude(work, l, logits);  // another's share may be as small as theirs
  }
  if (router.select == Select::kTopK) {
    warp_largest(logits, level.experts, level.chosen, taken, ids, scores);
  } else {
    for (int e = lane; e < level.experts; e += kWarpSize) {
      ids[e] = e;
      scores[e] = logits[e];
    }
    __syncwarp();
  }
  if (router.norm == Norm::kSoftmax) warp_softmax(scores, level.chosen, work.temperature);
  if (router.norm == Norm::kSum) {
    float sum = 0;
    for (int j = lane; j < level.chosen; j += kWarpSize) sum += scores[j];
    sum = warp_sum(sum);
    for (int j = lane; j < level.chosen; j += kWarpSize) scores[j] /= sum;
    __syncwarp();
  }
}

// What a node's first layer gives: of the token, and of the keys chosen on the way from the root.
__device__ void first_layer(const Work& work, int l, int row, int node, float* values) {
  const LinearPlan& linear = *work.linear;
  const RouterPlan& router = linear.levels[l].router;
  const float* token = work.from_token + int64_t{row} * linear.router_rows + router.first_row;
  for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < router.rows; i += kWarpSize) {
    float value = token[i];
    int pair = node;
    for (int m = l + 1; m < linear.level_count; ++m) {
      const LevelPlan& above = linear.levels[m];
      const int id = work.levels[m].ids[int64_t{row} * above.pairs + pair];
      const int64_t table = router.tables[linear.level_count - 1 - m];
      value += float_at(work.trunk, table, int64_t{id} * router.rows + i);
      pair /= above.chosen;
    }
    values[i] = value;
  }
  __syncwarp();
}

__device__ void route_node(const Work& work, int l, int row, int node, float* scratch) {
  const LevelPlan& level = work.linear->levels[l];
  const RouterPlan& router = level.router;
  float* hidden = scratch;
  float* query = hidden + router.rows;
  float* logits = query + router.keys;
  float* taken = logits + level.experts;
  first_layer(work, l, row, node, router.two_layer ? hidden : logits);
  if (router.two_layer) {
    for (int i = static_cast<int>(threadIdx.x) % kWarpSize; i < router.rows; i += kWarpSize) {
      hidden[i] = activated(router.activation, hidden[i]);
    }
    __syncwarp();
    const bool cosine = router.score == Score::kCosine;
    warp_product(work, router.second, router.second_bias, hidden, router.rows,
                 cosine ? router.keys : level.experts, cosine ? query : logits);
    if (cosine) {
      warp_normalise(query, router.keys);
      warp_product(work, router.key_rows, BlockSlot{}, query, router.keys, level.experts, logits);
    }
  }
  const WorkLevelSlots& slots = work.levels[l];
  const int64_t at = int64_t{row} * level.pairs + int64_t{node} * level.chosen;
  choose(work, l, logits, taken, slots.ids + at, slots.scores + at);
}

// A block for each row, a warp for each node.
__global__ void __launch_bounds__(kThreads) route_kernel(const Work* works, int count) {
  const auto [work, row] = my_work(works, count, kRoute);
  if (work.linear == nullptr) return;
  const LinearPlan& linear = *work.linear;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const float* token[1] = {work.token + int64_t{row} * linear.projection};
  for (int out = static_cast<int>(threadIdx.x); out < linear.router_rows; out += kThreads) {
    float sum[1] = {};
    add_panel_sums<1>(work.trunk, linear.routers, linear.projection, out, token, 0,
                      linear.projection, sum);
    work.from_token[int64_t{row} * linear.router_rows + out] =
        sum[0] + bias_of(work.trunk, linear.router_bias, out);
  }
  __syncthreads();
  float* scratch = work.node + (int64_t{row} * kWarps + warp) * work.node_width;
  for (int l = linear.level_count - 1; l >= 0; --l) {
    const LevelPlan& level = linear.levels[l];
    const int nodes = level.pairs / level.chosen;
    for (int node = warp; node < nodes; node += kWarps) route_node(work, l, row, node, scratch);
    __syncthreads();
  }
}

// A thread for each row. Pairs lie expert by expert, rows ascending.
__device__ void list_pairs(const Work& work, int l) {
  __shared__ int votes[kWarps];
  const LevelPlan& level = work.linear->levels[l];
  const WorkLevelSlots& slots = work.levels[l];
  const int row = static_cast<int>(threadIdx.x);
  const int warp = row / kWarpSize;
  const int lane = row % kWarpSize;
  int32_t* own = slots.pair_of + int64_t{row} * level.experts;
  if (row < work.count) {
    for (int e = 0; e < level.experts; ++e) own[e] = -1;
    const int32_t* ids = slots.ids + int64_t{row} * level.pairs;
    for (int i = 0; i < level.pairs; ++i) own[ids[i]] = 0;
  }
  int pairs = 0;
  for (int e = 0; e < level.experts; ++e) {
    const bool chosen = row < work.count && own[e] == 0;
    const unsigned vote = __ballot_sync(kAllLanes, chosen);
    if (lane == 0) votes[warp] = __popc(vote);
    if (row == 0) slots.expert_start[e] = pairs;
    __syncthreads();
    int before = pairs + __popc(vote & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) before += votes[w];
      pairs += votes[w];
    }
    if (chosen) {
      own[e] = before;
      slots.pair_row[before] = row;
    }
    __syncthreads();  // before the votes are counted anew
  }
  if (row == 0) slots.expert_start[level.experts] = pairs;
}

// A sum has no router: every row has every expert.
__device__ void list_all_pairs(const Work& work, int l) {
  const int experts = work.linear->levels[l].experts;
  const WorkLevelSlots& slots = work.levels[l];
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e <= experts; e += kThreads) slots.expert_start[e] = e * work.count;
  for (int pair = thread; pair < experts * work.count; pair += kThreads) {
    slots.pair_row[pair] = pair % work.count;
  }
}

// A block for each level of a work.
__global__ void __launch_bounds__(kThreads) gather_kernel(const Work* works, int count) {
  const auto [work, l] = my_work(works, count, kGather);
  if (work.linear == nullptr) return;
  if (work.linear->combine == Combine::kSum) {
    list_all_pairs(work, l);
  } else {
    list_pairs(work, l);
  }
  __syncthreads();
  const LevelPlan& level = work.linear->levels[l];
  const int32_t* start = work.levels[l].expert_start;
  for (int e = static_cast<int>(threadIdx.x); e < level.experts; e += kThreads) {
    const auto tokens = static_cast<unsigned long long>(start[e + 1] - start[e]);
    if (tokens > 0) atomicAdd(work.counters + level.first_counter + e, tokens);
  }
}

}  // namespace

void project(const WorkList& list, const Stream& stream) {
  if (list.blocks[kProject] == 0) return;
  launch(project_kernel, list.blocks[kProject], kThreads, 0, stream, list.works, list.count);
}

void route(const WorkList& list, const Stream& stream) {
  if (list.blocks[kRoute] == 0) return;
  launch(route_kernel, list.blocks[kRoute], kThreads, 0, stream, list.works, list.count);
}

void gather_pairs(const WorkList& list, const Stream& stream) {
  launch(gather_kernel, list.blocks[kGather], kThreads, 0, stream, list.works, list.count);
}

}  // namespace smore::cuda
