#include "residual/route.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "residual/activate.h"

namespace smore {
namespace {

void softmax(float* values, int count, float temperature) {
  const float largest = *std::max_element(values, values + count);
  float sum = 0;
  for (int i = 0; i < count; ++i) {
    sum += values[i] = std::exp((values[i] - largest) / temperature);
  }
  for (int i = 0; i < count; ++i) values[i] /= sum;
}

void normalise(float* values, int count) {
  float square = 0;
  for (int i = 0; i < count; ++i) square += values[i] * values[i];
  const float norm = std::max(std::sqrt(square), 1e-12f);
  for (int i = 0; i < count; ++i) values[i] /= norm;
}

// Of equal values the lower index first. What is not a number compares with nothing and stays where
// it is met: any choice will do, since the scores make the row not finite, which ends its sequence.
void largest(const float* values, int count, int chosen, int32_t* ids) {
  for (int j = 0; j < chosen; ++j) {
    int best = -1;
    for (int e = 0; e < count; ++e) {
      if (std::find(ids, ids + j, e) != ids + j) continue;
      if (best < 0 || values[e] > values[best]) best = e;
    }
    ids[j] = best;
  }
}

void exclude(std::span<const int32_t> banned, float* values) {
  for (int32_t e : banned) values[e] = -std::numeric_limits<float>::infinity();
}

// How the nodes of a level choose beside what was trained.
struct Choice {
  float temperature = 1;
  std::span<const int32_t> banned;
};

// One node's choice from the products with the keys, which are overwritten.
void choose(const Level& level, const Choice& choice, float* logits, int32_t* ids, float* scores) {
  const Router& router = level.router;
  exclude(choice.banned, logits);
  if (router.score == Score::kSoftmax) {
    softmax(logits, level.experts, choice.temperature);
    exclude(choice.banned, logits);  // another's share may be as small as theirs
  }
  if (router.select == Select::kTopK) {
    largest(logits, level.experts, level.chosen, ids);
  } else {
    for (int e = 0; e < level.experts; ++e) ids[e] = e;
  }
  for (int j = 0; j < level.chosen; ++j) scores[j] = logits[ids[j]];
  if (router.norm == Norm::kSoftmax) softmax(scores, level.chosen, choice.temperature);
  if (router.norm == Norm::kSum) {
    float sum = 0;
    for (int j = 0; j < level.chosen; ++j) sum += scores[j];
    for (int j = 0; j < level.chosen; ++j) scores[j] /= sum;
  }
}

class BlockRouter {
 public:
  BlockRouter(const DenseKernels& kernels, const Work& work, Arena& scratch)
      : kernels_(kernels), work_(work), scratch_(scratch) {}

  void run() {
    const SiteSlots& slots = work_.slots();
    const int u = work_.mixture().projection;
    const float* token = project(u);
    from_token_ =
        product(slots.routers, slots.router_bias, token, u, work_.count, slots.router_rows);
    for (int l = static_cast<int>(work_.mixture().levels.size()) - 1; l >= 0; --l) level(l);
  }

 private:
  const float* project(int u) {
    const SiteSlots& slots = work_.slots();
    DenseProduct product = product_with(work_.trunk, slots.projection, slots.projection_bias,
                                        work_.mixture().inputs, u);
    product.x = work_.x;
    product.x_stride = work_.x_stride;
    product.x_rows = work_.rows;
    product.rows = work_.count;
    product.y = scratch_.take<float>(int64_t{work_.count} * u);
    product.y_stride = u;
    dense_rows(kernels_, product);
    return product.y;
  }

  void level(int l) {
    const Level& level = work_.mixture().levels[l];
    const RouterSlots& slots = work_.slots().levels[l].router;
    const int64_t nodes = level.pairs / level.chosen;
    float* logits = scratch_.take<float>(work_.count * nodes * slots.rows);
    for (int i = 0; i < work_.count; ++i) {
      const float* token = from_token_ + int64_t{i} * work_.slots().router_rows + slots.first_row;
      for (int64_t node = 0; node < nodes; ++node) {
        float* target = logits + (i * nodes + node) * slots.rows;
        std::memcpy(target, token, slots.rows * sizeof(float));
        add_keys_above(l, i, node, target);
      }
    }
    if (level.router.two_layer) logits = second_layer(l, logits, work_.count * nodes);
    const Choice choice = choice_of(l);
    for (int64_t n = 0; n < work_.count * nodes; ++n) {
      const int64_t at = n * level.chosen;
      choose(level, choice, logits + n * level.experts, work_.levels[l].ids + at,
             work_.levels[l].scores + at);
    }
  }

  Choice choice_of(int l) const {
    const RouterControl* control = work_.control;
    if (control == nullptr) return {};
    if (l >= static_cast<int>(control->banned.size())) return {control->temperature, {}};
    return {control->temperature, control->banned[l]};
  }

  // The keys chosen on the way from the root to this node.
  void add_keys_above(int l, int64_t row, int64_t node, float* target) const {
    const auto& levels = work_.mixture().levels;
    const RouterSlots& slots = work_.slots().levels[l].router;
    int64_t pair = node;
    for (size_t m = l + 1; m < levels.size(); ++m) {
      const int32_t id = work_.levels[m].ids[row * levels[m].pairs + pair];
      const float* table = floats_at(work_.trunk, slots.tables[levels.size() - 1 - m]);
      add_scaled(1, table + int64_t{id} * slots.rows, slots.rows, target);
      pair /= levels[m].chosen;
    }
  }

  float* second_layer(int l, float* hidden, int64_t nodes) {
    const Level& level = work_.mixture().levels[l];
    const RouterSlots& slots = work_.slots().levels[l].router;
    activate(kernels_, level.router.activation, hidden, nodes * slots.rows);
    const bool cosine = level.router.score == Score::kCosine;
    const int outputs = cosine ? level.router.keys : level.experts;
    float* query = product(slots.second, slots.second_bias, hidden, slots.rows, nodes, outputs);
    if (!cosine) return query;
    for (int64_t n = 0; n < nodes; ++n) normalise(query + n * outputs, outputs);
    return product(slots.keys, Slot{}, query, outputs, nodes, level.experts);
  }

  float* product(Slot w, Slot bias, const float* x, int in, int64_t rows, int out) {
    DenseProduct product = product_with(work_.trunk, w, bias, in, out);
    product.x = x;
    product.x_stride = in;
    product.rows = static_cast<int>(rows);
    product.y = scratch_.take<float>(rows * out);
    product.y_stride = out;
    dense_rows(kernels_, product);
    return product.y;
  }

  const DenseKernels& kernels_;
  const Work& work_;
  Arena& scratch_;
  const float* from_token_ = nullptr;  // [count, router rows]
};

void gather_pairs(const Level& level, int count, WorkLevel& to) {
  const int s = level.experts;
  std::fill_n(to.pair_of, int64_t{count} * s, -1);
  for (int i = 0; i < count; ++i) {
    const int32_t* ids = to.ids + i * level.pairs;
    for (int64_t p = 0; p < level.pairs; ++p) to.pair_of[int64_t{i} * s + ids[p]] = 0;
  }
  int pairs = 0;
  for (int e = 0; e < s; ++e) {
    to.expert_start[e] = pairs;
    for (int i = 0; i < count; ++i) {
      int32_t& pair = to.pair_of[int64_t{i} * s + e];
      if (pair < 0) continue;
      to.pair_row[pairs] = i;
      pair = pairs++;
    }
  }
  to.expert_start[s] = pairs;
}

}  // namespace

void route(const DenseKernels& kernels, Work& work, Arena& scratch) {
  BlockRouter(kernels, work, scratch).run();
  const auto& levels = work.mixture().levels;
  for (size_t l = 0; l < levels.size(); ++l) gather_pairs(levels[l], work.count, work.levels[l]);
}

}  // namespace smore
