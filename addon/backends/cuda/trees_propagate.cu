#include "backends/cuda/trees.h"
#include "backends/cuda/trees_product.h"

// The products of experts, and the bottom-up half of trees.

namespace smore::cuda {
namespace {

constexpr int kRankTile = kWarps;               // ranks of a block: one for each warp
constexpr int kOutputs = kWarps * kOutputTile;  // of a block

__host__ __device__ inline int tiles(int count, int unit) { return (count + unit - 1) / unit; }

// Which pairs of which expert a block multiplies, and which of its outputs.
struct ExpertTile {
  int level;
  int expert;
  int pair;   // the first, among the level's
  int pairs;  // kTile at most, 0 or less = none
  int chunk;  // of outputs
};

// Every expert may have a pair of every row.
__device__ inline ExpertTile expert_tile(const Work& work, int block, int outputs_of_block,
                                         int LevelPlan::*outputs) {
  const int row_tiles = tiles(work.count, kTile);
  int l = 0;
  int chunks = 0;
  for (;; ++l) {
    const LevelPlan& level = work.linear->levels[l];
    chunks = tiles(level.*outputs, outputs_of_block);
    const int blocks = level.experts * row_tiles * chunks;
    if (block < blocks) break;
    block -= blocks;
  }
  const int expert = block / (row_tiles * chunks);
  const int tile = block / chunks % row_tiles;
  const int32_t* start = work.levels[l].expert_start;
  const int first = start[expert] + tile * kTile;
  return {l, expert, first, min(kTile, start[expert + 1] - first), block % chunks};
}

template <int kRows>
__device__ void compress_tile(const Work& work, const ExpertTile& tile, const std::byte* page) {
  const LevelPlan& level = work.linear->levels[tile.level];
  const WorkLevelSlots& slots = work.levels[tile.level];
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int out = tile.chunk * kRankTile + static_cast<int>(threadIdx.x) / kWarpSize;
  if (out >= level.rank) return;
  const float* x[kRows];
  float sum[kRows] = {};
  for (int i = 0; i < kRows; ++i) {
    const int row = slots.pair_row[tile.pair + min(i, tile.pairs - 1)];
    x[i] = work.x + work.rows[row] * work.x_stride;
  }
  add_row_sums<kRows>(page, level.a, work.linear->inputs, out, x, sum);
  const float scale = scale_of(page, level.a, out);
  const float bias = bias_of(page, level.a_bias, out);
  for (int i = 0; i < kRows; ++i) {
    if (lane == i && i < tile.pairs) {
      slots.compressed[int64_t{tile.pair + i} * level.rank + out] = fmaf(sum[i], scale, bias);
    }
  }
}

__global__ void __launch_bounds__(kThreads) compress_kernel(const Work* works, int count) {
  const auto [work, block] = my_work(works, count, kCompress);
  if (work.linear == nullptr) return;
  const ExpertTile tile = expert_tile(work, block, kRankTile, &LevelPlan::rank);
  const std::byte* page = work.pages[work.linear->levels[tile.level].first_page + tile.expert];
  if (tile.pairs <= 0 || page == nullptr) return;
  if (tile.pairs == 1) {
    compress_tile<1>(work, tile, page);
  } else {
    compress_tile<kTile>(work, tile, page);
  }
}

// B h + b of an output for a tile of pairs, before the level's scale.
template <int kRows>
__device__ void expert_sums(const LevelPlan& level, const WorkLevelSlots& slots,
                            const std::byte* page, int pair, int pairs, int out,
                            float (&sum)[kRows]) {
  const float* x[kRows];
  for (int i = 0; i < kRows; ++i) {
    x[i] = slots.compressed + int64_t{pair + min(i, pairs - 1)} * level.rank;
    sum[i] = 0;
  }
  add_panel_sums<kRows>(page, level.b, level.rank, out, x, 0, level.rank, sum);
  const float scale = scale_of(page, level.b, out);
  const float bias = bias_of(page, level.b_bias, out);
  for (int i = 0; i < kRows; ++i) sum[i] = fmaf(sum[i], scale, bias);
}

template <int kRows>
__device__ void expand_tile(const Work& work, const ExpertTile& tile, const std::byte* page) {
  const LevelPlan& level = work.linear->levels[tile.level];
  const int out = tile.chunk * kOutputs + static_cast<int>(threadIdx.x);
  if (out >= level.width) return;
  float sum[kRows];
  expert_sums<kRows>(level, work.levels[tile.level], page, tile.pair, tile.pairs, out, sum);
  const bool all = work.linear->combine == Combine::kTreeAll;
  const float w_bias = bias_of(work.trunk, level.w_bias, out);
  float* own = work.levels[tile.level].own + int64_t{tile.pair} * level.width + out;
  for (int i = 0; i < kRows; ++i) {
    if (i >= tile.pairs) break;
    float value = level.scale * sum[i];
    if (all) value = tile.level == 0 ? activated(level.activation, value) : value + w_bias;
    own[int64_t{i} * level.width] = value;
  }
}

__global__ void __launch_bounds__(kThreads) expand_kernel(const Work* works, int count) {
  const auto [work, block] = my_work(works, count, kExpand);
  if (work.linear == nullptr) return;
  const ExpertTile tile = expert_tile(work, block, kOutputs, &LevelPlan::width);
  const std::byte* page = work.pages[work.linear->levels[tile.level].first_page + tile.expert];
  if (tile.pairs <= 0 || page == nullptr) return;
  if (tile.pairs == 1) {
    expand_tile<1>(work, tile, page);
  } else {
    expand_tile<kTile>(work, tile, page);
  }
}

// Goes up the tree of one row.
struct RowTree {
  const Work& work;
  int row;

  __device__ const LevelPlan& plan(int l) const { return work.linear->levels[l]; }
  __device__ int nodes(int l) const { return plan(l).pairs / plan(l).chosen; }

  __device__ float own(int l, int pair, int out) const {
    const LevelPlan& level = plan(l);
    const WorkLevelSlots& slots = work.levels[l];
    const int id = slots.ids[int64_t{row} * level.pairs + pair];
    const int at = slots.pair_of[int64_t{row} * level.experts + id];
    return slots.own[int64_t{at} * level.width + out];
  }
  __device__ float score(int l, int pair) const {
    return work.levels[l].scores[int64_t{row} * plan(l).pairs + pair];
  }
  __device__ float* result(int l, int node) const {
    return work.levels[l].result + (int64_t{row} * nodes(l) + node) * plan(l).width;
  }
  __device__ float* sums(int l, int node) const {
    return work.levels[l].sums + (int64_t{row} * nodes(l) + node) * plan(l - 1).width;
  }
  // W[out] x
  __device__ float w_sum(int l, int out, const float* x) const {
    const LevelPlan& level = plan(l);
    const int in = plan(l - 1).width;
    const float* rows[1] = {x};
    float sum[1] = {};
    add_panel_sums<1>(work.trunk, level.w, in, out, rows, 0, in, sum);
    return sum[0] * scale_of(work.trunk, level.w, out);
  }

  // sums[node] = sum_j c_j act(sub_j), where c_j is 1 (child) or score_j (child_v2): W is linear,
  // so the children are summed before the product.
  __device__ void sum_children(int l) const {
    const LevelPlan& level = plan(l);
    const int inner = plan(l - 1).width;
    const bool weighted = work.linear->combine == Combine::kTreeChildV2;
    for (int i = static_cast<int>(threadIdx.x); i < nodes(l) * inner; i += kThreads) {
      const int node = i / inner;
      const int column = i % inner;
      float sum = 0;
      for (int pair = node * level.chosen; pair < (node + 1) * level.chosen; ++pair) {
        const float child = activated(level.activation, result(l - 1, pair)[column]);
        sum = fmaf(weighted ? score(l, pair) : 1.0f, child, sum);
      }
      sums(l, node)[column] = sum;
    }
  }

  // One output of a node.
  __device__ float combined(int l, int node, int out) const {
    const LevelPlan& level = plan(l);
    const Combine combine = work.linear->combine;
    const bool all = combine == Combine::kTreeAll;
    float value = 0;
    float total = 0;
    for (int pair = node * level.chosen; pair < (node + 1) * level.chosen; ++pair) {
      const float weight = score(l, pair);
      float term = own(l, pair, out);
      if (all && l > 0) {
        term = activated(level.activation, term + w_sum(l, out, result(l - 1, pair)));
      }
      value = fmaf(weight, term, value);
      total += combine == Combine::kTreeChildV2 ? weight : 1.0f;
    }
    if (all || l == 0) return value;
    value = fmaf(total, bias_of(work.trunk, level.w_bias, out), value);
    return value + w_sum(l, out, sums(l, node));
  }

  // A warp for 32 outputs of a node.
  __device__ void combine_level(int l) const {
    const int width = plan(l).width;
    const int chunks = tiles(width, kOutputTile);
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    for (int item = warp; item < nodes(l) * chunks; item += kWarps) {
      const int node = item / chunks;
      const int out = item % chunks * kOutputTile + lane;
      if (out < width) result(l, node)[out] = combined(l, node, out);
    }
  }
};

// A block for each row.
__global__ void __launch_bounds__(kThreads) propagate_kernel(const Work* works, int count) {
  const auto [work, row] = my_work(works, count, kPropagate);
  if (work.linear == nullptr) return;
  const RowTree tree{work, row};
  const bool children = work.linear->combine != Combine::kTreeAll;
  for (int l = 0; l < work.linear->level_count; ++l) {
    if (children && l > 0) {
      tree.sum_children(l);
      __syncthreads();
    }
    tree.combine_level(l);
    __syncthreads();
  }
}

template <int kRows>
__device__ void finish_tree(const Work& work, int first_row, int rows, int out) {
  const LinearPlan& linear = *work.linear;
  const LevelPlan& root = linear.levels[linear.level_count - 1];
  const float* top = work.levels[linear.level_count - 1].result;
  const float* x[kRows];
  float sum[kRows] = {};
  for (int i = 0; i < kRows; ++i) {
    x[i] = top + int64_t{first_row + min(i, rows - 1)} * root.width;
  }
  add_panel_sums<kRows>(work.trunk, linear.final_w, root.width, out, x, 0, root.width, sum);
  const float weight = scale_of(work.trunk, linear.final_w, out);
  const float bias = bias_of(work.trunk, linear.final_bias, out);
  for (int i = 0; i < kRows; ++i) {
    if (i >= rows) break;
    float* y = work.y + work.rows[first_row + i] * work.y_stride + out;
    *y = fmaf(work.scale, fmaf(sum[i], weight, bias), *y);
  }
}

// Experts in ascending order, so that a row's sum has one order whatever else is in the step.
template <int kRows>
__device__ void finish_sum(const Work& work, int first_row, int rows, int out) {
  const LevelPlan& level = work.linear->levels[0];
  const float scale = level.scale * work.scale;
  for (int e = 0; e < level.experts; ++e) {
    const std::byte* page = work.pages[level.first_page + e];
    if (page == nullptr) continue;
    float sum[kRows];
    expert_sums<kRows>(level, work.levels[0], page, e * work.count + first_row, rows, out, sum);
    for (int i = 0; i < kRows; ++i) {
      if (i >= rows) break;
      float* y = work.y + work.rows[first_row + i] * work.y_stride + out;
      *y = fmaf(scale, sum[i], *y);
    }
  }
}

template <int kRows>
__device__ void finish_tile(const Work& work, int first_row, int rows, int out) {
  if (work.linear->combine == Combine::kSum) {
    finish_sum<kRows>(work, first_row, rows, out);
  } else {
    finish_tree<kRows>(work, first_row, rows, out);
  }
}

__global__ void __launch_bounds__(kThreads)
    finish_kernel(const Work* works, int count, Finish which) {
  const auto [work, block] = my_work(works, count, kFinish);
  if (work.linear == nullptr) return;
  const bool sum = work.linear->combine == Combine::kSum;
  if (which == (sum ? Finish::kTrees : Finish::kSums)) return;
  const int chunks = tiles(work.linear->outputs, kOutputs);
  const int first_row = block / chunks * kTile;
  const int out = block % chunks * kOutputs + static_cast<int>(threadIdx.x);
  if (out >= work.linear->outputs) return;
  const int rows = min(kTile, work.count - first_row);
  if (rows == 1) {
    finish_tile<1>(work, first_row, rows, out);
  } else {
    finish_tile<kTile>(work, first_row, rows, out);
  }
}

}  // namespace

int64_t blocks_of(const LinearPlan& linear, int rows, Stage stage) {
  const bool sum = linear.combine == Combine::kSum;
  const int64_t row_tiles = tiles(rows, kTile);
  const auto of_experts = [&](int unit, int LevelPlan::*outputs) {
    int64_t blocks = 0;
    for (int l = 0; l < linear.level_count; ++l) {
      blocks += linear.levels[l].experts * row_tiles * tiles(linear.levels[l].*outputs, unit);
    }
    return blocks;
  };
  switch (stage) {
    case kProject:
      return sum ? 0 : row_tiles * tiles(linear.projection, kOutputTile);
    case kRoute:
    case kPropagate:
      return sum ? 0 : rows;
    case kGather:
      return linear.level_count;
    case kCompress:
      return of_experts(kRankTile, &LevelPlan::rank);
    case kExpand:
      return sum ? 0 : of_experts(kOutputs, &LevelPlan::width);
    case kFinish:
      return row_tiles * tiles(linear.outputs, kOutputs);
    case kStages:
      break;
  }
  return 0;
}

void compress(const WorkList& list, const Stream& stream) {
  launch(compress_kernel, list.blocks[kCompress], kThreads, 0, stream, list.works, list.count);
}

void expand(const WorkList& list, const Stream& stream) {
  if (list.blocks[kExpand] == 0) return;
  launch(expand_kernel, list.blocks[kExpand], kThreads, 0, stream, list.works, list.count);
}

void propagate(const WorkList& list, const Stream& stream) {
  if (list.blocks[kPropagate] == 0) return;
  launch(propagate_kernel, list.blocks[kPropagate], kThreads, 0, stream, list.works, list.count);
}

void finish(const WorkList& list, Finish which, const Stream& stream) {
  launch(finish_kernel, list.blocks[kFinish], kThreads, 0, stream, list.works, list.count, which);
}

}  // namespace smore::cuda
