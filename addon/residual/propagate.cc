#include "residual/propagate.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "residual/activate.h"

namespace smore {
namespace {

// Goes up one block of rows of one tree.
class BlockPropagator {
 public:
  BlockPropagator(const DenseKernels& kernels, const Work& work, Arena& scratch)
      : kernels_(kernels), work_(work), count_(work.count), scratch_(scratch) {}

  void run() {
    const auto& levels = work_.mixture().levels;
    float* below = nullptr;  // [count, nodes of the level below, its width]
    for (size_t l = 0; l < levels.size(); ++l) {
      const Level& level = levels[l];
      const int64_t nodes = level.pairs / level.chosen;
      float* result =
          l + 1 == levels.size() ? work_.top : scratch_.take<float>(count_ * nodes * level.width);
      const bool all = work_.mixture().combine == Combine::kTreeAll;
      if (all && l > 0) {
        activated_sum(static_cast<int>(l), below, result);
      } else {
        weighted_owns(static_cast<int>(l), result);
        if (l > 0) add_children(static_cast<int>(l), below, result);
      }
      below = result;
    }
  }

 private:
  const float* own(int l, int64_t row, int64_t pair) const {
    const Level& level = work_.mixture().levels[l];
    const WorkLevel& at = work_.levels[l];
    const int32_t id = at.ids[row * level.pairs + pair];
    return at.own + int64_t{at.pair_of[row * level.experts + id]} * level.width;
  }

  float score(int l, int64_t row, int64_t pair) const {
    return work_.levels[l].scores[row * work_.mixture().levels[l].pairs + pair];
  }

  // result[node] = sum_j score_j own_j (leaves of kTreeAll are activated already)
  void weighted_owns(int l, float* result) const {
    const Level& level = work_.mixture().levels[l];
    const int64_t nodes = level.pairs / level.chosen;
    std::fill_n(result, count_ * nodes * level.width, 0.0f);
    for (int64_t i = 0; i < count_; ++i) {
      for (int64_t pair = 0; pair < level.pairs; ++pair) {
        const int64_t node = i * nodes + pair / level.chosen;
        add_scaled(score(l, i, pair), own(l, i, pair), level.width, result + node * level.width);
      }
    }
  }

  // result[node] = sum_j score_j act(own_j + W sub_j + w); own_j holds w already
  void activated_sum(int l, const float* below, float* result) {
    const Level& level = work_.mixture().levels[l];
    const int64_t nodes = level.pairs / level.chosen;
    const int64_t width = level.width;
    float* terms = scratch_.take<float>(count_ * level.pairs * width);
    for (int64_t i = 0; i < count_; ++i) {
      for (int64_t pair = 0; pair < level.pairs; ++pair) {
        std::memcpy(terms + (i * level.pairs + pair) * width, own(l, i, pair),
                    width * sizeof(float));
      }
    }
    add_w(l, below, count_ * level.pairs, terms);
    activate(kernels_, level.activation, terms, count_ * level.pairs * width);
    std::fill_n(result, count_ * nodes * width, 0.0f);
    for (int64_t i = 0; i < count_; ++i) {
      for (int64_t pair = 0; pair < level.pairs; ++pair) {
        add_scaled(score(l, i, pair), terms + (i * level.pairs + pair) * width, width,
                   result + (i * nodes + pair / level.chosen) * width);
      }
    }
  }

  // result[node] += W sum_j c_j act(sub_j) + w sum_j c_j, where c_j is 1 (child) or score_j
  // (child_v2): W is linear, so the children are summed before the product.
  void add_children(int l, float* below, float* result) {
    const Level& level = work_.mixture().levels[l];
    const int64_t nodes = level.pairs / level.chosen;
    const int64_t inner = work_.mixture().levels[l - 1].width;
    const bool weighted = work_.mixture().combine == Combine::kTreeChildV2;
    const float* w_bias = floats_at(work_.trunk, work_.slots().levels[l].w_bias);
    activate(kernels_, level.activation, below, count_ * level.pairs * inner);
    float* sums = scratch_.take<float>(count_ * nodes * inner);
    std::fill_n(sums, count_ * nodes * inner, 0.0f);
    for (int64_t i = 0; i < count_; ++i) {
      for (int64_t node = 0; node < nodes; ++node) {
        float total = 0;
        for (int64_t pair = node * level.chosen; pair < (node + 1) * level.chosen; ++pair) {
          const float weight = weighted ? score(l, i, pair) : 1.0f;
          total += weight;
          add_scaled(weight, below + (i * level.pairs + pair) * inner, inner,
                     sums + (i * nodes + node) * inner);
        }
        add_scaled(total, w_bias, level.width, result + (i * nodes + node) * level.width);
      }
    }
    add_w(l, sums, count_ * nodes, result);
  }

  // y[i] += W x[i]
  void add_w(int l, const float* x, int64_t rows, float* y) const {
    const auto& levels = work_.mixture().levels;
    DenseProduct product = product_with(work_.trunk, work_.slots().levels[l].w, Slot{},
                                        levels[l - 1].width, levels[l].width);
    product.x = x;
    product.x_stride = product.in;
    product.rows = static_cast<int>(rows);
    product.y = y;
    product.y_stride = product.out;
    product.accumulate = true;
    multiply(kernels_, product, scratch_);
  }

  const DenseKernels& kernels_;
  const Work& work_;
  int count_;
  Arena& scratch_;
};

const int32_t* rows_of_step(const Work& work, const WorkLevel& level, int first, int count,
                            Arena& scratch) {
  int32_t* rows = scratch.take<int32_t>(count);
  for (int i = 0; i < count; ++i) rows[i] = work.rows[level.pair_row[first + i]];
  return rows;
}

// A x + a for one expert's pairs, [pairs, r].
float* compress(const DenseKernels& kernels, const Work& work, const InputRows& input, int l,
                int expert, const std::byte* page, Arena& scratch) {
  const Level& level = work.mixture().levels[l];
  const LevelSlots& slots = work.slots().levels[l];
  const WorkLevel& at = work.levels[l];
  const int first = at.expert_start[expert];
  const int count = at.expert_start[expert + 1] - first;
  const int in = work.mixture().inputs;
  DenseProduct product = product_with(page, slots.a, slots.a_bias, in, level.rank);
  if (rows_of(kernels, slots.a) == DenseRows::kFloat) {
    product.x = work.x;
    product.x_stride = work.x_stride;
    product.x_rows = rows_of_step(work, at, first, count, scratch);
  } else {
    take_rows(product, input);
    product.x_rows = at.pair_row + first;
  }
  product.rows = count;
  product.y = scratch.take<float>(int64_t{count} * level.rank);
  product.y_stride = level.rank;
  dense_rows(kernels, product);
  return product.y;
}

void add_sum(const Work& work, int first_output, int outputs) {
  for (int i = 0; i < work.count; ++i) {
    add_scaled(1, work.sum + int64_t{i} * work.mixture().outputs + first_output, outputs,
               work.output.y + work.rows[i] * work.output.stride + first_output);
  }
}

}  // namespace

InputRows expert_input(const DenseKernels& kernels, const Work& work, Arena& scratch) {
  const int in = work.mixture().inputs;
  for (const LevelSlots& level : work.slots().levels) {
    const DenseRows form = rows_of(kernels, level.a);
    if (form == DenseRows::kFloat) continue;
    return input_rows(kernels, form, work.x, work.x_stride, work.rows, work.count, in,
                      level.a.panels, scratch);
  }
  return {};
}

void compute_own(const DenseKernels& kernels, const Work& work, const InputRows& input, int l,
                 int expert, const std::byte* page, Arena& scratch) {
  const Mixture& mixture = work.mixture();
  const Level& level = mixture.levels[l];
  const LevelSlots& slots = work.slots().levels[l];
  const WorkLevel& at = work.levels[l];
  const int64_t first = at.expert_start[expert];
  const int count = at.expert_start[expert + 1] - at.expert_start[expert];
  float* own = at.own + first * level.width;
  DenseProduct up = product_with(page, slots.b, slots.b_bias, level.rank, level.width);
  up.x = compress(kernels, work, input, l, expert, page, scratch);
  up.x_stride = level.rank;
  up.rows = count;
  up.y = own;
  up.y_stride = level.width;
  up.scale = level.scale;
  multiply(kernels, up, scratch);
  if (mixture.combine != Combine::kTreeAll) return;
  if (l == 0) {
    activate(kernels, level.activation, own, int64_t{count} * level.width);
  } else {
    const float* w_bias = floats_at(work.trunk, slots.w_bias);
    for (int i = 0; i < count; ++i)
      add_scaled(1, w_bias, level.width, own + int64_t{i} * level.width);
  }
}

void add_expert(const DenseKernels& kernels, Work& work, const InputRows& input, int expert,
                const std::byte* page, Arena& scratch) {
  SMORE_CHECK(expert >= work.next_expert, "the experts of a sum come in ascending order");
  work.next_expert = expert + 1;
  const Level& level = work.mixture().root();
  const LevelSlots& slots = work.slots().levels[0];
  const WorkLevel& at = work.levels[0];
  const int first = at.expert_start[expert];
  const int count = at.expert_start[expert + 1] - first;
  DenseProduct product =
      product_with(page, slots.b, slots.b_bias, level.rank, work.mixture().outputs);
  product.x = compress(kernels, work, input, 0, expert, page, scratch);
  product.x_stride = level.rank;
  product.rows = count;
  if (work.sum == nullptr) {
    product.y = work.output.y;
    product.y_stride = work.output.stride;
    product.y_rows = rows_of_step(work, at, first, count, scratch);
  } else {
    product.y = work.sum;
    product.y_stride = product.out;
    product.y_rows = at.pair_row + first;
  }
  product.scale = level.scale * work.scale;
  product.accumulate = true;
  multiply(kernels, product, scratch);
}

void propagate(const DenseKernels& kernels, const Work& work, Arena& scratch) {
  BlockPropagator(kernels, work, scratch).run();
}

void add_final(const DenseKernels& kernels, const Work& work, int first_output, int outputs,
               Arena& scratch) {
  if (!work.is_tree()) {
    if (work.sum != nullptr) add_sum(work, first_output, outputs);
    return;
  }
  const int width = work.mixture().root().width;
  const SiteSlots& slots = work.slots();
  DenseProduct product =
      product_with(work.trunk, slots.final_w, slots.final_bias, width, outputs, first_output);
  product.x = work.top;
  product.x_stride = width;
  product.rows = work.count;
  product.y = work.output.y + first_output;
  product.y_stride = work.output.stride;
  product.y_rows = work.rows;
  product.scale = work.scale;
  product.accumulate = true;
  multiply(kernels, product, scratch);
}

}  // namespace smore
