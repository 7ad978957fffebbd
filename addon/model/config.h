#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace smore {

enum class Activation { kSilu, kGeluTanh };

enum class RopeScalingKind { kNone, kLinear, kLlama3 };

// Rotary frequencies beyond theta (HF `rope_scaling`; GGUF `rope_freqs.weight` gives factors).
struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  float factor = 1;
  float low_freq_factor = 1;      // llama3
  float high_freq_factor = 4;     // llama3
  int original_max_position = 0;  // llama3
};

// Which layers see only the last `sliding_window` positions.
enum class WindowPattern { kNone, kAll, kEvenLayers };

// Everything the graph must know of a dense decoder of the Llama family. One struct for every
// family: a family is a set of values, the graph asks for features and never for names.
struct ModelConfig {
  std::string family;    // "llama", "mistral", "qwen2", "qwen3", "gemma2": for messages and info
  int layers = 0;        // decoder layers
  int width = 0;         // D
  int ffn_width = 0;     // F
  int heads = 0;         // H
  int kv_heads = 0;      // K, divides H
  int head_dim = 0;      // need not be D / H
  int vocab = 0;         // V
  int max_position = 0;  // longest context the model was made for
  float norm_eps = 1e-5f;
  float rope_theta = 10000;
  RopeScaling rope_scaling;
  std::vector<float> rope_factors;  // head_dim / 2 divisors of the frequencies; empty = none
  Activation activation = Activation::kSilu;
  float query_scale = 0;  // multiplies q . k; 1 / sqrt(head_dim) unless the family says otherwise
  float attention_softcap = 0;  // 0 = none
  float logit_softcap = 0;      // 0 = none
  float embedding_scale = 1;    // Gemma: sqrt(D)
  int sliding_window = 0;
  WindowPattern window_pattern = WindowPattern::kNone;
  std::vector<int32_t> stop_tokens;  // every id that ends a turn (eos, eot, generation_config)
  int32_t bos_token = -1;            // -1 = the model has none
};

}  // namespace smore
