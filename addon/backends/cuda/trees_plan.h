#pragma once

#include <cstddef>
#include <cstdint>

#include "residual/tree.h"

// What kernels read of adapters. A plan is made once per adapter and lies in its trunk on the
// device; works are made for every call. The bytes of trunks and pages are those of the host tier
// (residual/weights.h says where a slot is in its block).
//
// Letters in shapes as in residual/tree.h; n: rows of a work, p: its pairs at a level.
namespace smore::cuda {

enum class Form : uint8_t { kF32, kF16, kBF16, kI8 };

// A Slot as kernels need it.
struct BlockSlot {
  static constexpr int64_t kNone = -1;

  int64_t offset = kNone;  // from the start of the block
  int64_t scales = kNone;  // of outputs: then the values are integers of a byte each
  Form form = Form::kF32;
};

struct RouterPlan {
  Score score = Score::kGiven;
  Select select = Select::kAll;
  Norm norm = Norm::kNone;
  bool two_layer = false;
  Nonlinearity activation;
  int first_row = 0;  // in LinearPlan::routers
  int rows = 0;       // g with two layers, else s
  int keys = 0;       // k, with two layers
  BlockSlot second, second_bias;
  BlockSlot key_rows;
  const int64_t* tables = nullptr;  // root first, one per level above: offsets of [s_m, rows]
};

struct LevelPlan {
  int experts = 0;  // s
  int chosen = 0;   // F
  int rank = 0;     // r
  int width = 0;    // d of this level's output
  int pairs = 0;    // of one token
  float scale = 1;
  Nonlinearity activation;
  RouterPlan router;
  BlockSlot w, w_bias;
  BlockSlot a, a_bias;
  BlockSlot b, b_bias;
  int first_page = 0;     // of expert 0, among the linear's pages
  int first_counter = 0;  // of expert 0, among the adapter's counters
};

struct LinearPlan {
  Combine combine = Combine::kSum;
  int inputs = 0;
  int outputs = 0;
  int projection = 0;  // u; 0 = a sum
  int router_rows = 0;
  int level_count = 0;  // L
  BlockSlot projected, projected_bias;
  BlockSlot routers, router_bias;
  BlockSlot final_w, final_bias;
  const LevelPlan* levels = nullptr;
};

// One level for the rows of a work: as WorkLevel of residual/work.h.
struct WorkLevelSlots {
  int32_t* ids = nullptr;           // [n, pairs] chosen experts, node by node
  float* scores = nullptr;          // same shape
  int32_t* pair_of = nullptr;       // [n, s] index of the pair, -1 = not chosen by this row
  int32_t* expert_start = nullptr;  // [s + 1] into the pairs, which lie expert by expert
  int32_t* pair_row = nullptr;      // [p] row of the work
  float* compressed = nullptr;      // [p, r]
  float* own = nullptr;             // [p, d]; trees
  float* result = nullptr;          // [n, nodes, d]; trees. Of the root: what W_final multiplies
  float* sums = nullptr;            // [n, nodes, d below]; children summed before W
};

// The kernels of a call in their order.
enum Stage { kProject, kRoute, kGather, kCompress, kExpand, kPropagate, kFinish, kStages };

// Rows of a step that one adapted linear changes in one way.
struct Work {
  const LinearPlan* linear = nullptr;  // null = none: what blocks behind the last work find
  const std::byte* trunk = nullptr;
  const std::byte* const* pages = nullptr;  // of the linear; null = not here now
  unsigned long long* counters = nullptr;   // of the adapter: tokens of each expert
  const WorkLevelSlots* levels = nullptr;
  const int32_t* rows = nullptr;  // [n] of the step, ascending
  const int32_t* bans = nullptr;  // [L + 1] starts of the levels' banned experts, which follow
  int count = 0;                  // n, kMostRows at most
  float scale = 1;
  float temperature = 1;
  const float* x = nullptr;  // [T, x_stride]
  int64_t x_stride = 0;
  float* y = nullptr;  // [T, y_stride]
  int64_t y_stride = 0;
  float* token = nullptr;       // [n, u]; trees
  float* from_token = nullptr;  // [n, router rows]; trees
  float* node = nullptr;        // [n, kWarps, node_width] where a warp chooses; trees
  int node_width = 0;
  int first_block[kStages] = {};  // of each kernel's blocks
};

inline constexpr int kThreads = 256;  // of a block, in every kernel here
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kMostRows = kThreads;  // of a work: a thread for each where pairs are listed
inline constexpr int kTile = 8;             // rows or pairs that a block multiplies
inline constexpr int kOutputTile = 32;      // outputs of a warp, a lane for each

// Floats that a warp needs to choose at a level: hidden, query, products with the keys; and a mark
// for each expert.
inline int64_t node_floats(const RouterPlan& router, int experts) {
  return int64_t{router.rows} + router.keys + 2 * int64_t{experts};
}

}  // namespace smore::cuda
