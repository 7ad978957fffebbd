#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backends/cpu/dense.h"
#include "residual/adapter.h"
#include "residual/arena.h"
#include "residual/weights.h"

namespace smore {

// A product with a matrix of a block, all but its rows: outputs [first, first + out)
// of panels.
inline DenseProduct product_with(const std::byte* block, Slot w, Slot bias, int in, int out,
                                 int first = 0) {
  const int64_t skipped = w.panels ? panel_index(w.dtype, in, first, 0) : 0;
  DenseProduct product;
  product.w = block + w.offset + w.bytes(skipped);
  if (w.coded()) product.scales = reinterpret_cast<const float*>(block + w.scales) + first;
  product.dtype = w.dtype;
  product.panels = w.panels;
  product.out = out;
  product.in = in;
  product.bias = bias.exists() ? floats_at(block, bias) + first : nullptr;
  return product;
}

// Rows of activations as products with some weights take them. Routing takes floats always.
struct InputRows {
  const uint16_t* rounded = nullptr;
  const int16_t* integers = nullptr;
  const float* scales = nullptr;  // of integers
};

inline DenseRows rows_of(const DenseKernels& kernels, Slot w) {
  return rows_of(kernels, w.dtype, w.coded());
}

// x[rows[i]] (null: x[i]) for products with weights that take such rows, whose matrix has so many
// columns and is in panels or not.
inline InputRows input_rows(const DenseKernels& kernels, DenseRows form, const float* x,
                            int64_t x_stride, const int32_t* rows, int count, int columns,
                            bool panels, Arena& scratch) {
  if (form == DenseRows::kFloat) return {};
  const int64_t values = count * rounded_width(columns);
  if (form == DenseRows::kBf16) {
    uint16_t* rounded = scratch.take<uint16_t>(values);
    round_rows(kernels, x, x_stride, rows, count, columns, rounded);
    return {.rounded = rounded};
  }
  int16_t* integers = scratch.take<int16_t>(values);
  float* scales = scratch.take<float>(count);
  round_rows(kernels, x, x_stride, rows, count, columns, panels, integers, scales);
  return {.integers = integers, .scales = scales};
}

// Such rows instead of x.
inline void take_rows(DenseProduct& product, const InputRows& rows) {
  product.rounded = rows.rounded;
  product.integers = rows.integers;
  product.x_scales = rows.scales;
  product.x_stride = rounded_width(product.in);
}

// dense_rows() of a product whose x is set, for rows that lie one after the other; rounds them
// where the path does.
inline void multiply(const DenseKernels& kernels, DenseProduct product, Arena& scratch) {
  const DenseRows form = rows_of(kernels, product.dtype, product.scales != nullptr);
  if (form != DenseRows::kFloat) {
    take_rows(product, input_rows(kernels, form, product.x, product.x_stride, nullptr, product.rows,
                                  product.in, product.panels, scratch));
  }
  dense_rows(kernels, product);
}

// One level of a tree for the rows of a Work. A pair is a row with one expert that any of its nodes
// chose: what is computed once and gathered by the nodes. Pairs lie expert by expert, rows
// ascending, so that an expert's weights are read once for all its rows.
struct WorkLevel {
  int32_t* ids = nullptr;           // [count, Level::pairs] chosen experts, node by node
  float* scores = nullptr;          // same shape
  int32_t* pair_of = nullptr;       // [count, s] index of the pair, -1 = not chosen by this row
  int32_t* expert_start = nullptr;  // [s + 1] into the pairs
  int32_t* pair_row = nullptr;      // [pairs] row of the work
  float* own = nullptr;             // [pairs, d] what each pair contributes; trees only
};

// One adapted linear with rows of a step that belong to one adapter: what one thread computes from
// the routing to the output.
struct Work {
  Adapter* adapter = nullptr;
  size_t member = 0;  // which of the step's adapters that is
  const SitePlan* site = nullptr;
  const std::byte* trunk = nullptr;
  const std::byte* const* pages = nullptr;  // [pages of the adapter] where everything is resident
  int32_t* page_keys = nullptr;   // [pages of the site] where not: index into the call's keys, -1 =
                                  // not used; shared by the works of an adapter's linear
  const int32_t* rows = nullptr;  // [count] rows of the step, ascending
  int count = 0;
  float scale = 1;                         // of the delta
  int turn = 0;                            // how many adapters change the rows before this one
  const RouterControl* control = nullptr;  // null = as trained
  const float* x = nullptr;                // [T, x_stride]
  int64_t x_stride = 0;
  SiteOutput output{};
  WorkLevel* levels = nullptr;  // [L]
  float* top = nullptr;         // [count, d_L]; trees
  float* sum = nullptr;         // [count, out]; sums that may not add to y before their turn
  int next_expert = 0;          // sums add to y expert by expert: the least that may come next
  bool failed = false;          // a page could not be read; y is left as it is

  const Mixture& mixture() const { return site->mixture; }
  const SiteSlots& slots() const { return site->slots; }
  bool is_tree() const { return mixture().combine != Combine::kSum; }
};

}  // namespace smore
