#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "bench/random_tensors.h"
#include "core/error.h"

namespace smore {

// Shapes of a Llama model, by the names that people know them by.
struct LlamaShape {
  std::string_view name;
  int layers, width, ffn_width, heads, kv_heads, head_dim, vocab;
  bool tied;  // the output is the embedding

  // Weights that a token is multiplied with.
  int64_t products() const {
    const int64_t attention = int64_t{2} * (heads + kv_heads) * head_dim * width;
    return layers * (attention + int64_t{3} * width * ffn_width) + int64_t{width} * vocab;
  }
};

inline constexpr LlamaShape kLlamaShapes[] = {
    {"llama-3.2-1b", 16, 2048, 8192, 32, 8, 64, 128256, true},
    {"llama-3-8b", 32, 4096, 14336, 32, 8, 128, 128256, false},
    {"tiny", 2, 256, 512, 8, 4, 32, 1024, true},  // tries the program out
};

// Throws Error(kInvalidArgument) naming the shapes that there are.
inline const LlamaShape& llama_shape(std::string_view name) {
  std::string names;
  for (const LlamaShape& shape : kLlamaShapes) {
    if (shape.name == name) return shape;
    names += (names.empty() ? "" : ", ") + std::string(shape.name);
  }
  throw Error(ErrorCode::kInvalidArgument,
              "no shape is called " + std::string(name) + "; there are " + names);
}

// A Hugging Face folder with random weights in bfloat16.
inline void write_random_model(const std::string& folder, const LlamaShape& shape) {
  RandomTensors tensors(0.02f);
  const int q = shape.heads * shape.head_dim;
  const int kv = shape.kv_heads * shape.head_dim;
  tensors.add("model.embed_tokens.weight", {shape.vocab, shape.width});
  tensors.add("model.norm.weight", {shape.width});
  if (!shape.tied) tensors.add("lm_head.weight", {shape.vocab, shape.width});
  for (int layer = 0; layer < shape.layers; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    tensors.add(at + "input_layernorm.weight", {shape.width});
    tensors.add(at + "post_attention_layernorm.weight", {shape.width});
    tensors.add(at + "self_attn.q_proj.weight", {q, shape.width});
    tensors.add(at + "self_attn.k_proj.weight", {kv, shape.width});
    tensors.add(at + "self_attn.v_proj.weight", {kv, shape.width});
    tensors.add(at + "self_attn.o_proj.weight", {shape.width, q});
    tensors.add(at + "mlp.gate_proj.weight", {shape.ffn_width, shape.width});
    tensors.add(at + "mlp.up_proj.weight", {shape.ffn_width, shape.width});
    tensors.add(at + "mlp.down_proj.weight", {shape.width, shape.ffn_width});
  }
  std::filesystem::create_directories(folder);
  const auto number = [](const char* name, int value) {
    return std::string(",\"") + name + "\":" + std::to_string(value);
  };
  std::ofstream(folder + "/config.json")
      << R"({"architectures":["LlamaForCausalLM"],"model_type":"llama","rms_norm_eps":1e-5,)"
      << R"("rope_theta":500000.0,"hidden_act":"silu","torch_dtype":"bfloat16")"
      << number("num_hidden_layers", shape.layers) << number("hidden_size", shape.width)
      << number("intermediate_size", shape.ffn_width) << number("num_attention_heads", shape.heads)
      << number("num_key_value_heads", shape.kv_heads) << number("head_dim", shape.head_dim)
      << number("vocab_size", shape.vocab) << number("max_position_embeddings", 8192)
      << ",\"tie_word_embeddings\":" << (shape.tied ? "true" : "false") << "}";
  tensors.write(folder + "/model.safetensors");
}

}  // namespace smore
