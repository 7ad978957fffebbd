#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/adapter_backends.h"
#include "tests/random_adapter.h"

// Adapters of several layers, as memory tiers see them: many pages that come and go.

namespace smore::layered {

inline constexpr int kInputs = 24;
inline constexpr int kOutputs = 40;
inline constexpr int kLayers = 3;

inline ModelConfig base_config() {
  ModelConfig base;
  base.layers = kLayers;
  base.width = kInputs;
  base.ffn_width = kOutputs;
  base.heads = 1;
  base.kv_heads = 1;
  base.head_dim = 8;
  return base;
}

inline std::string up(int layer) {
  return "model.layers." + std::to_string(layer) + ".mlp.up_proj";
}

// Writes an adapter with a tree on up_proj of every layer, all of one configuration.
inline void write_many(const std::string& folder, uint32_t seed) {
  TreeMaker maker(seed);
  RandomTree tree = maker.tree(kInputs, kOutputs);
  while (tree.shared || tree.levels() < 2) tree = maker.tree(kInputs, kOutputs);
  std::map<std::string, reference::Tensor> tensors;
  for (int layer = 0; layer < kLayers; ++layer) {
    for (const auto& [name, tensor] : tree.tensors) {
      const bool slope = name.starts_with("moe_expert_act_param") || name.ends_with("mlp.1.weight");
      tensors["base_model.model." + up(layer) + "." + name] =
          slope ? tensor : maker.tensor(tensor.shape, 0.4);
    }
  }
  write_adapter(folder, config_text(tree), tensors, DType::kF32);
}

// One row per adapter through all layers.
inline std::vector<float> run(Backend& backend, Adapters& adapters, const std::vector<int>& handles,
                              std::vector<int>* failed = nullptr) {
  TreeMaker maker(9);
  std::vector<float> x;
  AdapterRows rows;
  for (size_t i = 0; i < handles.size(); ++i) {
    rows.groups.push_back({handles[i], {static_cast<int32_t>(i)}});
    for (int j = 0; j < kInputs; ++j) x.push_back(static_cast<float>(maker.number(1)));
  }
  std::vector<float> all;
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::vector<float> y = adapter_backends::deltas(backend, adapters, layer, Site::kUp, rows,
                                                          x, kInputs, kOutputs, failed);
    all.insert(all.end(), y.begin(), y.end());
  }
  return all;
}

}  // namespace smore::layered
