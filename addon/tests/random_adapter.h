#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "residual/reference.h"
#include "tests/temp_model.h"

namespace smore {

// A random S'MoRE tree on one linear: what an adapter folder holds, and the same for the reference.
struct RandomTree {
  int inputs = 0;
  int outputs = 0;
  reference::TreeConfig config;
  std::vector<int> experts, ranks, gate_dims;
  bool mlp = true;
  bool shared = false;
  int projection = 0;  // as in the configuration; 0 = as wide as the input
  reference::Tensors tensors;

  int levels() const { return static_cast<int>(experts.size()); }
};

class TreeMaker {
 public:
  explicit TreeMaker(uint32_t seed) : random_(seed) {}

  int between(int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(random_);
  }
  double number(double size) { return std::normal_distribution<double>(0, size)(random_); }
  template <class T>
  T one_of(std::vector<T> values) {
    return values[between(0, static_cast<int>(values.size()) - 1)];
  }

  RandomTree tree(int inputs, int outputs) {
    RandomTree tree;
    tree.inputs = inputs;
    tree.outputs = outputs;
    const int levels = between(1, 4);
    tree.shared = one_of<int>({0, 0, 1}) == 1;
    tree.mlp = one_of<int>({0, 1, 1}) == 1;
    tree.projection = one_of<int>({0, 5, 8, 17});
    tree.config.gate_type = one_of<std::string>({"noisy_topk", "switch", "dense"});
    tree.config.activation_position = one_of<std::string>({"all", "child", "child_v2"});
    const std::vector<std::string> curves = {"identity", "relu", "tanh", "prelu|0.25"};
    tree.config.gate_act_fn = one_of(curves);
    tree.config.expert_act_fn = one_of(curves);
    const bool scaled = between(0, 1) == 1;
    for (int l = 0; l < levels; ++l) {
      const bool copy = tree.shared && l > 0;
      tree.experts.push_back(copy ? tree.experts[0] : between(1, 4));
      tree.ranks.push_back(copy ? tree.ranks[0] : between(1, 5));
      tree.gate_dims.push_back(between(2, 7));
      tree.config.num_active.push_back(between(1, tree.experts[l]));
      if (scaled) tree.config.lora_alpha.push_back(between(1, 9));
    }
    fill(tree);
    return tree;
  }

  reference::Tensor tensor(std::vector<int64_t> shape, double size) {
    reference::Tensor made{std::move(shape), {}};
    int64_t count = 1;
    for (int64_t n : made.shape) count *= n;
    for (int64_t i = 0; i < count; ++i) made.values.push_back(number(size));
    return made;
  }

 private:
  void put(RandomTree& tree, const std::string& name, std::vector<int64_t> shape) {
    const double size = shape.size() == 1 ? 0.3 : 1 / std::sqrt(static_cast<double>(shape.back()));
    tree.tensors[name] = tensor(std::move(shape), size);
  }

  void put_level(RandomTree& tree, int l, int below, int width, int router_inputs) {
    const std::string dot = "." + std::to_string(l);
    const int64_t s = tree.experts[l];
    const int64_t r = tree.ranks[l];
    const int64_t g = tree.gate_dims[l];
    const bool mlp = tree.mlp || tree.config.gate_type == "noisy_topk";
    if (tree.shared && l > 0) {
      for (const char* name : {"moe_A", "moe_A_bias", "moe_B", "moe_B_bias"}) {
        tree.tensors[name + dot] = tree.tensors[std::string(name) + ".0"];
      }
    } else {
      put(tree, "moe_A" + dot, {s, r, tree.inputs});
      put(tree, "moe_A_bias" + dot, {s, r});
      put(tree, "moe_B" + dot, {s, width, r});
      put(tree, "moe_B_bias" + dot, {s, width});
    }
    if (l > 0) {
      put(tree, "moe_W" + dot, {width, below});
      put(tree, "moe_W_bias" + dot, {width});
    }
    const std::string gate = "moe_gate" + dot + ".";
    put(tree, gate + "keys", {s, mlp ? g : router_inputs});
    if (mlp) {
      put(tree, gate + "mlp.0.weight", {g, router_inputs});
      put(tree, gate + "mlp.0.bias", {g});
      put(tree, gate + "mlp.2.weight", {g, g});
      put(tree, gate + "mlp.2.bias", {g});
      if (tree.config.gate_act_fn.starts_with("prelu")) put(tree, gate + "mlp.1.weight", {1});
    }
    if (tree.config.gate_type == "noisy_topk") put(tree, gate + "weight_noise.weight", {s, 3});
    if (tree.config.expert_act_fn.starts_with("prelu"))
      put(tree, "moe_expert_act_param" + dot, {1});
  }

  void fill(RandomTree& tree) {
    const int u = tree.projection > 0 ? tree.projection : tree.inputs;
    put(tree, "moe_downproj_x.weight", {u, tree.inputs});
    put(tree, "moe_downproj_x.bias", {u});
    std::vector<int> router_inputs(tree.levels());
    int z = u;
    for (int l = tree.levels() - 1; l >= 0; --l) {
      router_inputs[l] = z;
      const bool mlp = tree.mlp || tree.config.gate_type == "noisy_topk";
      z += mlp ? tree.gate_dims[l] : z;
    }
    int width = 0;
    for (int l = 0; l < tree.levels(); ++l) {
      const int below = width;
      width = (tree.shared ? 0 : width) + tree.experts[l] * tree.ranks[l];
      put_level(tree, l, below, width, router_inputs[l]);
    }
    put(tree, "moe_W_final", {tree.outputs, width});
    put(tree, "moe_W_final_bias", {tree.outputs});
  }

  std::mt19937 random_;
};

inline std::string list_text(const std::vector<int>& values) {
  std::string text;
  for (int value : values) text += (text.empty() ? "" : ", ") + std::to_string(value);
  return "[" + text + "]";
}

inline std::string config_text(const RandomTree& tree) {
  std::string alpha = "null";
  if (!tree.config.lora_alpha.empty()) {
    alpha = list_text({tree.config.lora_alpha.begin(), tree.config.lora_alpha.end()});
  }
  const auto text = [](const std::string& value) { return "\"" + value + "\""; };
  return "{\"peft_type\": \"HIER_MOE\", \"moe_arch\": \"smore\", \"num_experts\": " +
         list_text(tree.experts) + ", \"num_active\": " + list_text(tree.config.num_active) +
         ", \"expert_dims\": " + list_text(tree.ranks) +
         ", \"gate_dims\": " + list_text(tree.gate_dims) +
         ", \"gate_type\": " + text(tree.config.gate_type) +
         ", \"gate_arch\": " + text(tree.mlp ? "mlp" : "linear") +
         ", \"gate_act_fn\": " + text(tree.config.gate_act_fn) +
         ", \"expert_act_fn\": " + text(tree.config.expert_act_fn) +
         ", \"activation_position\": " + text(tree.config.activation_position) +
         ", \"dim_downproj_x\": " +
         (tree.projection > 0 ? std::to_string(tree.projection) : "null") +
         ", \"lora_alpha\": " + alpha +
         ", \"is_shared_expert_pool\": " + (tree.shared ? "true" : "false") + "}";
}

// Rounds the values to what the type can hold, so that the reference computes with the same.
inline void round_to(DType dtype, reference::Tensor& tensor) {
  for (double& value : tensor.values) {
    const auto single = static_cast<float>(value);
    value = single;
    if (dtype == DType::kBF16) value = bfloat16_to_float(float_to_bfloat16(single));
    if (dtype == DType::kF16) value = half_to_float(float_to_half(single));
  }
}

// An adapter folder with the given tensors under their full names.
inline void write_adapter(const std::string& folder, const std::string& config,
                          const std::map<std::string, reference::Tensor>& tensors, DType dtype) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/adapter_config.json") << config;
  std::vector<std::vector<std::byte>> bytes;
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : tensors) {
    std::vector<std::byte>& data = bytes.emplace_back(row_bytes(dtype, tensor.values.size()));
    for (size_t i = 0; i < tensor.values.size(); ++i) {
      const auto value = static_cast<float>(tensor.values[i]);
      const uint16_t half = dtype == DType::kF16 ? float_to_half(value) : float_to_bfloat16(value);
      if (dtype == DType::kF32) std::memcpy(data.data() + 4 * i, &value, 4);
      if (dtype != DType::kF32) std::memcpy(data.data() + 2 * i, &half, 2);
    }
    TensorView view;
    view.name = name;
    view.dtype = dtype;
    view.rank = static_cast<int>(tensor.shape.size());
    std::copy(tensor.shape.begin(), tensor.shape.end(), view.shape.begin());
    views.push_back(view);
  }
  for (size_t i = 0; i < views.size(); ++i) views[i].data = bytes[i].data();
  write_safetensors(folder + "/adapter_model.safetensors", views);
}

// An empty folder that goes away with the test.
class ScratchFolder {
 public:
  ScratchFolder() {
    char name[] = "/tmp/smore-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Writes the tree as an adapter of one module, rounding its tensors to the stored type first.
inline void write_tree(const std::string& folder, const std::string& module, RandomTree& tree,
                       DType dtype) {
  std::map<std::string, reference::Tensor> named;
  for (auto& [name, tensor] : tree.tensors) {
    round_to(dtype, tensor);
    named["base_model.model." + module + "." + name] = tensor;
  }
  write_adapter(folder, config_text(tree), named, dtype);
}

}  // namespace smore
