#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "io/json.h"
#include "residual/module_pattern.h"
#include "residual/tree.h"

namespace smore {

// The fields of adapter_config.json that inference uses, parsed once; the loaders compare them with
// what the tensors say.

enum class GateType { kNoisyTopK, kSwitch, kDense };

struct SmoreConfig {
  std::vector<int> experts;  // num_experts, leaves first as in every list
  std::vector<int> active;   // num_active
  std::vector<int> ranks;    // expert_dims
  std::vector<int> gate_dims;
  GateType gate_type = GateType::kNoisyTopK;
  bool gate_mlp = true;  // gate_arch "mlp": every level has a two-layer router
  Curve gate_curve = Curve::kRelu;
  Curve expert_curve = Curve::kRelu;
  Combine combine = Combine::kTreeAll;
  int projection = 0;         // dim_downproj_x; 0 = as wide as the linear's input
  std::vector<double> alpha;  // lora_alpha; empty = scale 1
  bool shared_pool = false;

  int levels() const { return static_cast<int>(experts.size()); }
};

// The first pattern that matches the end of a module's path gives its value: PEFT's rule.
template <class T>
using ModuleValues = std::vector<std::pair<ModulePattern, T>>;

struct LoraConfig {
  int rank = 0;
  double alpha = 0;
  bool rank_stabilized = false;  // use_rslora: alpha / sqrt(r)
  bool biased = false;           // lora_bias: B has a bias
  ModuleValues<int> rank_pattern;
  ModuleValues<double> alpha_pattern;
};

struct ModuleNames {
  std::vector<std::string> names;        // a module's path or the end of one
  std::optional<ModulePattern> pattern;  // of the whole path, in place of names

  bool empty() const { return names.empty() && !pattern; }
  bool contain(const std::string& module) const;
};

// Which linears the configuration says are adapted; the tensors must agree.
struct TargetModules {
  ModuleNames chosen;
  ModuleNames excluded;
  std::vector<int> layers;  // layers_to_transform; empty = all

  bool known() const { return !chosen.empty(); }
  bool lists_layer(int layer) const;
  bool matches(const std::string& module, int layer) const;
};

struct AdapterConfig {
  std::variant<SmoreConfig, LoraConfig> kind;
  TargetModules targets;
};

// Throws Error(kInvalidAdapter) naming the field; kUnsupported for kinds of adapter and settings
// that this server does not compute.
AdapterConfig parse_adapter_config(const Json& json, const std::string& where);

template <class T>
T value_by_pattern(const ModuleValues<T>& values, const std::string& module, T otherwise) {
  for (const auto& [pattern, value] : values) {
    if (pattern.matches_end(module)) return value;
  }
  return otherwise;
}

}  // namespace smore
