#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "bench/random_tensors.h"
#include "model/config.h"

namespace smore {

inline void write_adapter(const std::string& folder, const RandomTensors& tensors,
                          const std::string& config) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/adapter_config.json") << config;
  tensors.write(folder + "/adapter_model.safetensors");
}

// A S'MoRE tree (4/4 experts, 2/2 active, rank 8, keys 16, projection 32) on gate, up and down.
inline void write_tree(const std::string& folder, const ModelConfig& base) {
  RandomTensors tensors(0.05f);
  for (int layer = 0; layer < base.layers; ++layer) {
    for (const char* module : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = std::string(module) == "down_proj";
      const int in = down ? base.ffn_width : base.width;
      const int out = down ? base.width : base.ffn_width;
      const std::string at =
          "base_model.model.model.layers." + std::to_string(layer) + ".mlp." + module + ".";
      tensors.add(at + "moe_downproj_x.weight", {32, in});
      tensors.add(at + "moe_downproj_x.bias", {32});
      for (int l = 0; l < 2; ++l) {
        const std::string dot = "." + std::to_string(l);
        const int width = 32 * (l + 1);
        const std::string gate = at + "moe_gate" + dot;
        tensors.add(gate + ".keys", {4, 16});
        tensors.add(gate + ".mlp.0.weight", {16, l == 0 ? 48 : 32});
        tensors.add(gate + ".mlp.0.bias", {16});
        tensors.add(gate + ".mlp.2.weight", {16, 16});
        tensors.add(gate + ".mlp.2.bias", {16});
        tensors.add(at + "moe_A" + dot, {4, 8, in});
        tensors.add(at + "moe_A_bias" + dot, {4, 8});
        tensors.add(at + "moe_B" + dot, {4, width, 8});
        tensors.add(at + "moe_B_bias" + dot, {4, width});
      }
      tensors.add(at + "moe_W.1", {64, 32});
      tensors.add(at + "moe_W_bias.1", {64});
      tensors.add(at + "moe_W_final", {out, 64});
      tensors.add(at + "moe_W_final_bias", {out});
    }
  }
  write_adapter(folder, tensors,
                R"({"peft_type":"HIER_MOE","moe_arch":"smore","num_experts":[4,4],)"
                R"("num_active":[2,2],"expert_dims":[8,8],"gate_dims":[16,16],)"
                R"("gate_type":"switch","gate_act_fn":"tanh","expert_act_fn":"tanh"})");
}

// LoRA of rank 16 on the seven linears.
inline void write_lora(const std::string& folder, const ModelConfig& base) {
  RandomTensors tensors(0.05f);
  const int kv = base.kv_heads * base.head_dim;
  const std::pair<const char*, std::pair<int, int>> modules[] = {
      {"self_attn.q_proj", {base.width, base.width}},
      {"self_attn.k_proj", {base.width, kv}},
      {"self_attn.v_proj", {base.width, kv}},
      {"self_attn.o_proj", {base.width, base.width}},
      {"mlp.gate_proj", {base.width, base.ffn_width}},
      {"mlp.up_proj", {base.width, base.ffn_width}},
      {"mlp.down_proj", {base.ffn_width, base.width}}};
  for (int layer = 0; layer < base.layers; ++layer) {
    for (const auto& [module, shape] : modules) {
      const std::string at =
          "base_model.model.model.layers." + std::to_string(layer) + "." + module + ".";
      tensors.add(at + "lora_A.weight", {16, shape.first});
      tensors.add(at + "lora_B.weight", {shape.second, 16});
    }
  }
  write_adapter(folder, tensors, R"({"peft_type":"LORA","r":16,"lora_alpha":16})");
}

}  // namespace smore
