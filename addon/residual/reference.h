#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

// The formulas of a S'MoRE tree and of LoRA, one token at a time, in double precision, straight
// from the names that an adapter file uses. Slow on purpose: the truth that tests compare with.
namespace smore::reference {

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

// Tensors of one adapted linear by the part of their name behind the module's path: "moe_A.0".
using Tensors = std::map<std::string, Tensor>;

// The fields of adapter_config.json that change the result, as they are written there.
struct TreeConfig {
  std::string gate_type;
  std::string gate_act_fn;
  std::string expert_act_fn;
  std::string activation_position;
  std::vector<int> num_active;
  std::vector<double> lora_alpha;  // empty = null
};

struct TreeResult {
  std::vector<double> delta;
  std::vector<std::vector<int>> ids;        // per level, [F_{L-1}, ..., F_l] in row-major order
  std::vector<std::vector<double>> scores;  // same shape
};

// How the gates differ from what was trained: logits are divided by the temperature before a
// softmax, those of banned experts (per level) are minus infinity.
struct Gates {
  double temperature = 1;
  std::vector<std::vector<int>> banned;
};

TreeResult tree_delta(const TreeConfig& config, const Tensors& tensors,
                      const std::vector<double>& x, const Gates& gates = {});

// scale * (B A x + bias); an empty bias counts as zero.
std::vector<double> lora_delta(const Tensor& a, const Tensor& b, const std::vector<double>& bias,
                               double scale, const std::vector<double>& x);

}  // namespace smore::reference
