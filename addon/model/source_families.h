#pragma once

#include <string>
#include <string_view>

namespace smore {

// What tells the families apart in their files. A new dense family is a row here, plus whatever its
// configuration says in words of its own.
struct Family {
  std::string_view name;          // Hugging Face `model_type`, and ours
  std::string_view architecture;  // Hugging Face `architectures`
  std::string_view gguf_name;     // GGUF `general.architecture`
  bool qkv_bias;                  // q, k and v have biases
  bool qk_norm;                   // every head of q and k is normalised
  bool post_norms;                // norms after attention and FFN too; stored as weight - 1 by HF
  bool interleaved_in_gguf;       // GGUF keeps rows of q and k in interleaved rotary order
  bool ties_by_default;           // embeddings are tied when the configuration does not say
};

inline constexpr Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", "llama", false, false, false, true, false},
    {"mistral", "MistralForCausalLM", "llama", false, false, false, true, false},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", true, false, false, false, false},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", false, true, false, false, false},
    {"gemma2", "Gemma2ForCausalLM", "gemma2", false, false, true, false, true},
};

// The names of one field of all families, for messages: "llama, mistral, qwen2".
inline std::string family_names(std::string_view Family::*field) {
  std::string text;
  std::string_view last;
  for (const Family& family : kFamilies) {
    if (family.*field == last) continue;
    if (!text.empty()) text += ", ";
    text += last = family.*field;
  }
  return text;
}

// Null when no family is called that; of several, the first.
inline const Family* find_family(std::string_view Family::*field, std::string_view name) {
  for (const Family& family : kFamilies) {
    if (family.*field == name) return &family;
  }
  return nullptr;
}

}  // namespace smore
