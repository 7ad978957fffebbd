#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backends/cpu/dense.h"
#include "core/error.h"
#include "residual/weights.h"

namespace smore {
namespace {

// Copies tensors from the file into their slots, converting where the types differ.
class Loader {
 public:
  Loader(const AdapterPlan& plan, std::byte* block) : plan_(plan), block_(block) {}

  std::vector<float> floats(Stored from, int64_t count) {
    std::vector<float> values(count);
    read_floats(from, 0, count, values.data());
    return values;
  }

  void copy(Stored from, int64_t first, int64_t count, Slot to) {
    if (!to.exists()) return;
    std::byte* target = block_ + to.offset;
    if (from.dtype == to.dtype) {
      plan_.reader->read(from.offset + row_bytes(from.dtype, first), row_bytes(from.dtype, count),
                         target);
    } else if (to.dtype == DType::kF32) {
      read_floats(from, first, count, reinterpret_cast<float*>(target));
    } else {
      converted_.resize(count);
      read_floats(from, first, count, converted_.data());
      auto* bits = reinterpret_cast<uint16_t*>(target);
      for (int64_t i = 0; i < count; ++i) bits[i] = float_to_bfloat16(converted_[i]);
    }
  }

  // Rows [first, first + outputs) of a stored matrix, as its slot keeps it.
  void copy_matrix(Stored from, int64_t first, int64_t outputs, int64_t inputs, Slot to) {
    if (!to.panels && !to.coded()) return copy(from, first * inputs, outputs * inputs, to);
    converted_.resize(outputs * inputs);
    read_floats(from, first * inputs, outputs * inputs, converted_.data());
    if (to.coded()) return put_codes(outputs, inputs, to);
    put_matrix(converted_, outputs, inputs, to);
  }

  // The values are exact in the slot's type, or to be rounded to bfloat16.
  void put_matrix(const std::vector<float>& values, int64_t outputs, int64_t inputs, Slot to) {
    std::byte* target = block_ + to.offset;
    const int64_t places = panel_values(to.dtype, outputs, inputs);
    std::memset(target, 0, row_bytes(to.dtype, places));
    for (int64_t out = 0; out < outputs; ++out) {
      for (int64_t k = 0; k < inputs; ++k) {
        const float value = values[out * inputs + k];
        const int64_t at = panel_index(to.dtype, inputs, out, k);
        if (to.dtype == DType::kF32) {
          reinterpret_cast<float*>(target)[at] = value;
        } else {
          reinterpret_cast<uint16_t*>(target)[at] =
              to.dtype == DType::kF16 ? float_to_half(value) : float_to_bfloat16(value);
        }
      }
    }
  }

  float* target(Slot to) { return reinterpret_cast<float*>(block_ + to.offset); }

 private:
  // The converted values as integers whose largest in each output is 127.
  void put_codes(int64_t outputs, int64_t inputs, Slot to) {
    auto* target = reinterpret_cast<int8_t*>(block_ + to.offset);
    auto* scales = reinterpret_cast<float*>(block_ + to.scales);
    const int64_t width = code_row_values(inputs);
    std::memset(target, 0, to.panels ? panel_values(to.dtype, outputs, inputs) : outputs * width);
    for (int64_t out = 0; out < outputs; ++out) {
      const float* row = converted_.data() + out * inputs;
      float largest = 0;
      for (int64_t k = 0; k < inputs; ++k) largest = std::max(largest, std::abs(row[k]));
      scales[out] = largest / 127;
      for (int64_t k = 0; k < inputs && largest > 0; ++k) {
        const int64_t at = to.panels ? panel_index(to.dtype, inputs, out, k) : out * width + k;
        target[at] = static_cast<int8_t>(std::lround(row[k] / largest * 127));
      }
    }
  }

  void read_floats(Stored from, int64_t first, int64_t count, float* target) {
    raw_.resize(row_bytes(from.dtype, count));
    plan_.reader->read(from.offset + row_bytes(from.dtype, first), raw_.size(), raw_.data());
    to_float(from.dtype, raw_.data(), count, target);
  }

  const AdapterPlan& plan_;
  std::byte* block_;
  std::vector<std::byte> raw_;
  std::vector<float> converted_;
};

void normalise_rows(std::vector<float>& rows, int width) {
  for (size_t start = 0; start < rows.size(); start += width) {
    double square = 0;
    for (int i = 0; i < width; ++i) square += double{rows[start + i]} * rows[start + i];
    const double norm = std::max(std::sqrt(square), 1e-12);
    for (int i = 0; i < width; ++i) rows[start + i] = static_cast<float>(rows[start + i] / norm);
  }
}

// target[i, j] = sum_k a[i, a_first + k] * b[j, b_first + k], rows of a and b given by their width.
struct Operand {
  const std::vector<float>& values;
  int width;
  int first = 0;
};
void multiply(Operand a, int a_rows, Operand b, int b_rows, int depth, float* target) {
  for (int i = 0; i < a_rows; ++i) {
    for (int j = 0; j < b_rows; ++j) {
      const float* x = a.values.data() + int64_t{i} * a.width + a.first;
      const float* y = b.values.data() + int64_t{j} * b.width + b.first;
      double sum = 0;
      for (int k = 0; k < depth; ++k) sum += double{x[k]} * y[k];
      target[int64_t{i} * b_rows + j] = static_cast<float>(sum);
    }
  }
}

std::vector<float> transposed(const std::vector<float>& values, int rows, int columns) {
  std::vector<float> result(values.size());
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j)
      result[int64_t{j} * rows + i] = values[int64_t{i} * columns + j];
  }
  return result;
}

class RouterLoader {
 public:
  RouterLoader(const AdapterPlan& plan, const SitePlan& site, Loader& loader)
      : plan_(plan), site_(site), loader_(loader) {}

  void load() {
    const auto& levels = site_.mixture.levels;
    for (size_t l = 0; l < levels.size(); ++l) {
      const Router& router = levels[l].router;
      keys_.push_back(
          loader_.floats(site_.sources.levels[l].keys, int64_t{levels[l].experts} * router.keys));
      if (router.score == Score::kCosine) normalise_rows(keys_.back(), router.keys);
    }
    for (size_t l = 0; l < levels.size(); ++l) {
      first_layer(static_cast<int>(l));
      if (levels[l].router.two_layer) second_layer(static_cast<int>(l));
    }
    loader_.put_matrix(routers_, site_.slots.router_rows, site_.mixture.projection,
                       site_.slots.routers);
  }

 private:
  void first_layer(int l) {
    const Router& router = site_.mixture.levels[l].router;
    const RouterSlots& to = site_.slots.levels[l].router;
    const LevelSources& from = site_.sources.levels[l];
    const int u = site_.mixture.projection;
    const std::vector<float> first =
        router.two_layer ? loader_.floats(from.first, int64_t{to.rows} * router.inputs) : keys_[l];
    for (int row = 0; row < to.rows; ++row) {
      const auto start = first.begin() + int64_t{row} * router.inputs;
      routers_.insert(routers_.end(), start, start + u);
    }
    float* bias = loader_.target(site_.slots.router_bias) + to.first_row;
    std::fill(bias, bias + to.rows, 0.0f);
    if (router.two_layer) {
      const std::vector<float> values = loader_.floats(from.first_bias, to.rows);
      std::copy(values.begin(), values.end(), bias);
    }
    int column = u;
    for (size_t i = 0; i < to.tables.size(); ++i) {
      const size_t m = site_.mixture.levels.size() - 1 - i;
      const Level& above = site_.mixture.levels[m];
      multiply({keys_[m], above.router.keys}, above.experts, {first, router.inputs, column},
               to.rows, above.router.keys, loader_.target(to.tables[i]));
      check_products(loader_.target(to.tables[i]), int64_t{above.experts} * to.rows);
      column += above.router.keys;
    }
  }

  void second_layer(int l) {
    const Level& level = site_.mixture.levels[l];
    const RouterSlots& to = site_.slots.levels[l].router;
    const LevelSources& from = site_.sources.levels[l];
    const int g = level.router.hidden;
    const int k = level.router.keys;
    const std::vector<float> second = loader_.floats(from.second, int64_t{k} * g);
    const std::vector<float> bias = loader_.floats(from.second_bias, k);
    if (level.router.score == Score::kCosine) {
      loader_.put_matrix(second, k, g, to.second);
      std::copy(bias.begin(), bias.end(), loader_.target(to.second_bias));
      loader_.put_matrix(keys_[l], level.experts, k, to.keys);
      return;
    }
    std::vector<float> folded(int64_t{level.experts} * g);
    multiply({keys_[l], k}, level.experts, {transposed(second, k, g), k}, g, k, folded.data());
    check_products(folded.data(), static_cast<int64_t>(folded.size()));
    loader_.put_matrix(folded, level.experts, g, to.second);
    multiply({keys_[l], k}, level.experts, {bias, k}, 1, k, loader_.target(to.second_bias));
    check_products(loader_.target(to.second_bias), level.experts);
  }

  // The file's values were finite when it was checked; their products need not be.
  void check_products(const float* values, int64_t count) const {
    if (first_non_finite(DType::kF32, values, count) < 0) return;
    throw Error(ErrorCode::kInvalidAdapter,
                plan_.path + ": " + module_path(site_.layer, site_.site) +
                    ": products of its routers' weights are too large for float32");
  }

  const AdapterPlan& plan_;
  const SitePlan& site_;
  Loader& loader_;
  std::vector<std::vector<float>> keys_;  // as handed to the children
  std::vector<float> routers_;            // [rows of the levels so far, u]
};

}  // namespace

void load_trunk(const AdapterPlan& plan, std::byte* block) {
  Loader loader(plan, block);
  for (const SitePlan& site : plan.sites) {
    const Mixture& mixture = site.mixture;
    const SiteSlots& to = site.slots;
    const SiteSources& from = site.sources;
    if (mixture.combine == Combine::kSum) continue;
    const int64_t u = mixture.projection;
    loader.copy_matrix(from.projection, 0, u, mixture.inputs, to.projection);
    loader.copy(from.projection_bias, 0, u, to.projection_bias);
    RouterLoader(plan, site, loader).load();
    for (size_t l = 1; l < mixture.levels.size(); ++l) {
      const int64_t width = mixture.levels[l].width;
      loader.copy_matrix(from.levels[l].w, 0, width, mixture.levels[l - 1].width, to.levels[l].w);
      loader.copy(from.levels[l].w_bias, 0, width, to.levels[l].w_bias);
    }
    loader.copy_matrix(from.final_w, 0, mixture.outputs, mixture.root().width, to.final_w);
    loader.copy(from.final_bias, 0, mixture.outputs, to.final_bias);
  }
}

void load_page(const AdapterPlan& plan, int page, std::byte* block) {
  const PagePlan& where = plan.pages[page];
  const SitePlan& site = plan.sites[where.site];
  const Level& level = site.mixture.levels[where.level];
  const LevelSlots& to = site.slots.levels[where.level];
  const LevelSources& from = site.sources.levels[where.level];
  Loader loader(plan, block);
  loader.copy_matrix(from.a, int64_t{where.expert} * level.rank, level.rank, site.mixture.inputs,
                     to.a);
  loader.copy(from.a_bias, int64_t{where.expert} * level.rank, level.rank, to.a_bias);
  loader.copy_matrix(from.b, int64_t{where.expert} * level.width, level.width, level.rank, to.b);
  loader.copy(from.b_bias, int64_t{where.expert} * level.width, level.width, to.b_bias);
}

}  // namespace smore
