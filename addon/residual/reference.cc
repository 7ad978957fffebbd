#include "residual/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace smore::reference {
namespace {

using Vector = std::vector<double>;

// rows [first, first + rows) of the matrix that `tensor` holds, times x.
Vector product(const Tensor& tensor, int64_t first, int64_t rows, const Vector& x) {
  const int64_t columns = static_cast<int64_t>(x.size());
  Vector y(rows, 0.0);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) y[i] += tensor.values[(first + i) * columns + j] * x[j];
  }
  return y;
}

void add(Vector& y, const double* values) {
  for (size_t i = 0; i < y.size(); ++i) y[i] += values[i];
}

double activate(const std::string& name, double slope, double v) {
  if (name == "relu") return std::max(v, 0.0);
  if (name == "tanh") return std::tanh(v);
  if (name.starts_with("prelu|")) return std::max(v, 0.0) + slope * std::min(v, 0.0);
  return v;  // identity
}

void normalise(Vector& v) {
  double square = 0;
  for (double value : v) square += value * value;
  const double norm = std::max(std::sqrt(square), 1e-12);
  for (double& value : v) value /= norm;
}

Vector softmax(Vector v, double temperature) {
  const double largest = *std::max_element(v.begin(), v.end());
  double sum = 0;
  for (double& value : v) sum += value = std::exp((value - largest) / temperature);
  for (double& value : v) value /= sum;
  return v;
}

struct Choice {
  std::vector<int> ids;
  Vector scores;
  std::vector<Vector> keys;
};

class Tree {
 public:
  Tree(const TreeConfig& config, const Tensors& tensors, const Vector& x, const Gates& gates,
       TreeResult& result)
      : config_(config), tensors_(tensors), x_(x), gates_(gates), result_(result) {}

  Vector node(int l, const Vector& z) {
    const Choice choice = route(l, z);
    const auto& ids = choice.ids;
    auto& all_ids = result_.ids[l];
    all_ids.insert(all_ids.end(), ids.begin(), ids.end());
    auto& all_scores = result_.scores[l];
    all_scores.insert(all_scores.end(), choice.scores.begin(), choice.scores.end());
    Vector y(at("moe_B", l).shape[1], 0.0);
    for (size_t j = 0; j < ids.size(); ++j) {
      Vector sub;
      if (l > 0) {
        Vector child = z;
        child.insert(child.end(), choice.keys[j].begin(), choice.keys[j].end());
        sub = node(l - 1, child);
      }
      combine(l, choice.scores[j], own(l, ids[j]), sub, y);
    }
    return y;
  }

 private:
  const Tensor& at(const std::string& name, int l) const {
    return tensors_.at(name + "." + std::to_string(l));
  }

  double slope(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? 0.0 : found->second.values[0];
  }

  Vector own(int l, int expert) const {
    const int64_t rank = at("moe_A", l).shape[1];
    const int64_t width = at("moe_B", l).shape[1];
    Vector h = product(at("moe_A", l), expert * rank, rank, x_);
    add(h, at("moe_A_bias", l).values.data() + expert * rank);
    Vector y = product(at("moe_B", l), expert * width, width, h);
    add(y, at("moe_B_bias", l).values.data() + expert * width);
    const double scale =
        config_.lora_alpha.empty() ? 1.0 : config_.lora_alpha[l] / static_cast<double>(rank);
    for (double& value : y) value *= scale;
    return y;
  }

  void combine(int l, double score, const Vector& own, Vector sub, Vector& y) const {
    const double a = slope("moe_expert_act_param." + std::to_string(l));
    const auto act = [&](double v) { return activate(config_.expert_act_fn, a, v); };
    const bool all = config_.activation_position == "all";
    Vector below(y.size(), 0.0);
    if (l > 0) {
      if (!all) std::transform(sub.begin(), sub.end(), sub.begin(), act);
      below = product(at("moe_W", l), 0, static_cast<int64_t>(y.size()), sub);
      add(below, at("moe_W_bias", l).values.data());
    }
    for (size_t i = 0; i < y.size(); ++i) {
      if (all) {
        y[i] += score * act(own[i] + below[i]);
      } else if (config_.activation_position == "child") {
        y[i] += score * own[i] + below[i];
      } else {
        y[i] += score * (own[i] + below[i]);
      }
    }
  }

  Vector query(const std::string& gate, const Vector& z) const {
    const auto first = tensors_.find(gate + "mlp.0.weight");
    if (first == tensors_.end()) return z;
    Vector h = product(first->second, 0, first->second.shape[0], z);
    add(h, tensors_.at(gate + "mlp.0.bias").values.data());
    const double a = slope(gate + "mlp.1.weight");
    for (double& value : h) value = activate(config_.gate_act_fn, a, value);
    const Tensor& second = tensors_.at(gate + "mlp.2.weight");
    Vector q = product(second, 0, second.shape[0], h);
    add(q, tensors_.at(gate + "mlp.2.bias").values.data());
    return q;
  }

  Choice route(int l, const Vector& z) const {
    const std::string gate = "moe_gate." + std::to_string(l) + ".";
    const bool noisy = config_.gate_type == "noisy_topk";
    const bool dense = config_.gate_type == "dense";
    Vector q = query(gate, z);
    const Tensor& table = tensors_.at(gate + "keys");
    const int experts = static_cast<int>(table.shape[0]);
    std::vector<Vector> keys;
    for (int e = 0; e < experts; ++e) {
      const auto row = table.values.begin() + e * table.shape[1];
      keys.emplace_back(row, row + table.shape[1]);
    }
    if (noisy) {
      normalise(q);
      for (Vector& key : keys) normalise(key);
    }
    Vector logits;
    for (const Vector& key : keys) {
      logits.push_back(std::inner_product(key.begin(), key.end(), q.begin(), 0.0));
    }
    if (l < static_cast<int>(gates_.banned.size())) {
      for (int e : gates_.banned[l]) logits[e] = -std::numeric_limits<double>::infinity();
    }
    const Vector p = noisy ? logits : softmax(logits, gates_.temperature);
    std::vector<int> order(experts);
    std::iota(order.begin(), order.end(), 0);
    if (!dense) {
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return p[a] > p[b]; });
      order.resize(config_.num_active[l]);
    }
    Choice choice{order, {}, {}};
    for (int e : order) {
      choice.scores.push_back(p[e]);
      choice.keys.push_back(keys[e]);
    }
    if (noisy && order.size() > 1) choice.scores = softmax(choice.scores, gates_.temperature);
    if (config_.gate_type == "switch" && order.size() > 1) {
      const double sum = std::accumulate(choice.scores.begin(), choice.scores.end(), 0.0);
      for (double& score : choice.scores) score /= sum;
    }
    return choice;
  }

  const TreeConfig& config_;
  const Tensors& tensors_;
  const Vector& x_;
  const Gates& gates_;
  TreeResult& result_;
};

}  // namespace

TreeResult tree_delta(const TreeConfig& config, const Tensors& tensors,
                      const std::vector<double>& x, const Gates& gates) {
  const int levels = static_cast<int>(config.num_active.size());
  TreeResult result;
  result.ids.resize(levels);
  result.scores.resize(levels);
  const Tensor& projection = tensors.at("moe_downproj_x.weight");
  Vector t = product(projection, 0, projection.shape[0], x);
  add(t, tensors.at("moe_downproj_x.bias").values.data());
  const Vector top = Tree(config, tensors, x, gates, result).node(levels - 1, t);
  const Tensor& last = tensors.at("moe_W_final");
  result.delta = product(last, 0, last.shape[0], top);
  add(result.delta, tensors.at("moe_W_final_bias").values.data());
  return result;
}

std::vector<double> lora_delta(const Tensor& a, const Tensor& b, const std::vector<double>& bias,
                               double scale, const std::vector<double>& x) {
  Vector y = product(b, 0, b.shape[0], product(a, 0, a.shape[0], x));
  if (!bias.empty()) add(y, bias.data());
  for (double& value : y) value *= scale;
  return y;
}

}  // namespace smore::reference
