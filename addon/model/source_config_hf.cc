#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "io/json.h"
#include "io/regular_file.h"
#include "model/source_config.h"

namespace smore {
namespace {

// The families of which this size is the default of a head when the configuration names none.
int64_t default_head_dim(const Family& family, int64_t width, int64_t heads,
                         const JsonFields& fields) {
  if (family.name == "qwen3") return 128;
  if (family.name == "gemma2") return 256;
  if (width % heads != 0) {
    fields.refuse("hidden_size", std::to_string(width) + " is no multiple of num_attention_heads " +
                                     std::to_string(heads) + ", and head_dim is absent");
  }
  return width / heads;
}

[[noreturn]] void unsupported(const JsonFields& fields, const std::string& what) {
  throw Error(ErrorCode::kUnsupported, fields.where() + ": " + what);
}

const Family& read_family(const JsonFields& fields) {
  const std::string& type = fields.text("model_type");
  const Family* family = find_family(&Family::name, type);
  if (family == nullptr) {
    unsupported(fields, "model_type \"" + type + "\" is not supported; " +
                            family_names(&Family::name) + " are");
  }
  const Json* architectures = fields.find("architectures");
  if (architectures == nullptr) return *family;
  const Json::Array* list = architectures->array();
  if (list == nullptr || list->size() != 1 || (*list)[0].string() == nullptr) {
    fields.refuse("architectures", "expected a list of one name");
  }
  if (*(*list)[0].string() != family->architecture) {
    unsupported(fields, "architectures: " + *(*list)[0].string() + " is not supported for " + type +
                            "; " + std::string(family->architecture) + " is");
  }
  return *family;
}

void refuse_foreign_features(const JsonFields& fields) {
  if (const Json* quantization = fields.find("quantization_config")) {
    const Json* method = quantization->member("quant_method");
    const std::string name = method != nullptr && method->string() ? *method->string() : "unnamed";
    unsupported(fields, "quantization_config: weights quantised by " + name +
                            " are not supported; quantised weights come as GGUF");
  }
  for (const char* flag : {"attention_bias", "mlp_bias"}) {
    if (fields.boolean_or(flag, false)) {
      unsupported(fields, std::string(flag) + ": biases of these projections are not supported");
    }
  }
  if (fields.number_or("partial_rotary_factor", 1) != 1) {
    unsupported(fields, "partial_rotary_factor: partly rotated heads are not supported");
  }
}

Activation read_activation(const Family& family, const JsonFields& fields) {
  const bool gemma = family.name == "gemma2";
  const std::string expected = gemma ? "gelu_pytorch_tanh" : "silu";
  const char* field = gemma && fields.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  const std::string name = fields.text_or(field, expected);
  if (name != expected) {
    unsupported(fields, std::string(field) + ": " + name + " is not supported for " +
                            std::string(family.name) + "; " + expected + " is");
  }
  return gemma ? Activation::kGeluTanh : Activation::kSilu;
}

void read_rope_scaling(const JsonFields& rope, ModelConfig& c) {
  const std::string type = rope.text_or("rope_type", rope.text_or("type", "default"));
  if (rope.text_or("type", type) != type) rope.refuse("type", "contradicts rope_type " + type);
  RopeScaling& scaling = c.rope_scaling;
  if (type == "default") return;
  if (type == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
    scaling.factor = static_cast<float>(rope.number("factor"));
    return;
  }
  if (type != "llama3") {
    unsupported(rope,
                "rotary scaling \"" + type + "\" is not supported; default, linear and llama3 are");
  }
  scaling.kind = RopeScalingKind::kLlama3;
  scaling.factor = static_cast<float>(rope.number("factor"));
  scaling.low_freq_factor = static_cast<float>(rope.number("low_freq_factor"));
  scaling.high_freq_factor = static_cast<float>(rope.number("high_freq_factor"));
  scaling.original_max_position =
      static_cast<int>(rope.integer("original_max_position_embeddings", 1, kMaxPosition));
}

// Newer configurations hold base and scaling in `rope_parameters`, older ones in `rope_theta` and
// `rope_scaling`; some hold both and then must agree.
void read_rope(const JsonFields& fields, ModelConfig& c) {
  double theta = fields.number_or("rope_theta", 10000);
  if (fields.has("rope_parameters")) {
    const JsonFields rope = fields.fields("rope_parameters");
    const double named = rope.number_or("rope_theta", theta);
    if (fields.has("rope_theta") && named != theta) {
      rope.refuse("rope_theta", "contradicts the rope_theta beside rope_parameters");
    }
    theta = named;
    read_rope_scaling(rope, c);
  } else if (fields.has("rope_scaling")) {
    read_rope_scaling(fields.fields("rope_scaling"), c);
  }
  c.rope_theta = static_cast<float>(theta);
}

std::vector<bool> read_layer_types(const JsonFields& fields, int layers) {
  const Json::Array* list = fields.find("layer_types")->array();
  if (list == nullptr || list->size() != static_cast<size_t>(layers)) {
    fields.refuse("layer_types",
                  "expected a list of num_hidden_layers = " + std::to_string(layers) + " names");
  }
  std::vector<bool> windowed;
  for (const Json& item : *list) {
    const std::string* name = item.string();
    if (name == nullptr || (*name != "full_attention" && *name != "sliding_attention")) {
      unsupported(fields, "layer_types: " + item.dump() +
                              " is not supported; full_attention and sliding_attention are");
    }
    windowed.push_back(*name == "sliding_attention");
  }
  return windowed;
}

// Which layers have a window when `layer_types` does not say.
std::vector<bool> default_windows(const Family& family, const JsonFields& fields, int layers) {
  std::vector<bool> windowed(layers, false);
  if (family.name == "mistral") windowed.assign(layers, !fields.is_null("sliding_window"));
  if (family.name == "gemma2") {
    for (int i = 0; i < layers; i += 2) windowed[i] = true;
  }
  const bool qwen = family.name == "qwen2" || family.name == "qwen3";
  if (qwen && fields.boolean_or("use_sliding_window", false) && fields.has("sliding_window")) {
    const auto first = static_cast<int>(fields.integer("max_window_layers", 0, kMaxLayers));
    for (int i = first; i < layers; ++i) windowed[i] = true;
  }
  return windowed;
}

void read_windows(const Family& family, const JsonFields& fields, ModelConfig& c) {
  const std::vector<bool> windowed = fields.has("layer_types")
                                         ? read_layer_types(fields, c.layers)
                                         : default_windows(family, fields, c.layers);
  c.window_pattern = window_pattern(windowed, fields.where());
  if (c.window_pattern == WindowPattern::kNone) return;
  c.sliding_window = static_cast<int>(fields.integer("sliding_window", 1, kMaxPosition));
}

void read_gemma_scales(const JsonFields& fields, ModelConfig& c) {
  const auto cap = [&fields](const char* name, double otherwise) {
    return fields.is_null(name) ? 0 : static_cast<float>(fields.number_or(name, otherwise));
  };
  c.attention_softcap = cap("attn_logit_softcapping", 50);
  c.logit_softcap = cap("final_logit_softcapping", 30);
  c.query_scale = static_cast<float>(1 / std::sqrt(fields.number_or("query_pre_attn_scalar", 256)));
  c.embedding_scale = std::sqrt(static_cast<float>(c.width));
}

void add_stop_tokens(const JsonFields& fields, ModelConfig& c) {
  const Json* eos = fields.find("eos_token_id");
  if (eos == nullptr) return;
  const std::vector<int64_t> ids = eos->array() != nullptr
                                       ? fields.integers("eos_token_id", 0, kMaxVocab)
                                       : std::vector{fields.integer("eos_token_id", 0, kMaxVocab)};
  for (const int64_t id : ids) {
    const auto token = static_cast<int32_t>(id);
    if (std::ranges::find(c.stop_tokens, token) == c.stop_tokens.end()) {
      c.stop_tokens.push_back(token);
    }
  }
}

void read_sizes(const Family& family, const JsonFields& fields, ModelConfig& c) {
  const auto size = [&fields](const char* name, int64_t most) {
    return static_cast<int>(fields.integer(name, 1, most));
  };
  c.layers = size("num_hidden_layers", kMaxLayers);
  c.width = size("hidden_size", kMaxWidth);
  c.ffn_width = size("intermediate_size", kMaxWidth);
  c.heads = size("num_attention_heads", kMaxHeads);
  c.vocab = size("vocab_size", kMaxVocab);
  c.max_position = size("max_position_embeddings", kMaxPosition);
  // Only Llama files that predate grouped queries leave it out.
  c.kv_heads = family.name == "llama" && !fields.has("num_key_value_heads")
                   ? c.heads
                   : size("num_key_value_heads", kMaxHeads);
  c.head_dim = fields.has("head_dim")
                   ? size("head_dim", kMaxWidth)
                   : static_cast<int>(default_head_dim(family, c.width, c.heads, fields));
}

}  // namespace

StatedConfig read_hf_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const Json json = Json::parse(read_text_file(path), path);
  const JsonFields fields(json, path, ErrorCode::kInvalidModel);
  StatedConfig stated;
  stated.family = &read_family(fields);
  const Family& family = *stated.family;
  ModelConfig& c = stated.config;
  refuse_foreign_features(fields);
  c.family = family.name;
  read_sizes(family, fields, c);
  c.norm_eps = static_cast<float>(fields.number_or("rms_norm_eps", 1e-6));
  c.query_scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  c.activation = read_activation(family, fields);
  read_rope(fields, c);
  read_windows(family, fields, c);
  if (family.name == "gemma2") read_gemma_scales(fields, c);
  stated.tied = fields.boolean_or("tie_word_embeddings", family.ties_by_default);
  add_stop_tokens(fields, c);
  c.bos_token = static_cast<int32_t>(fields.integer_or("bos_token_id", -1, 0, kMaxVocab));

  const std::string generation_path = folder + "/generation_config.json";
  if (has_entry(generation_path)) {
    const Json generation = Json::parse(read_text_file(generation_path), generation_path);
    add_stop_tokens(JsonFields(generation, generation_path, ErrorCode::kInvalidModel), c);
  }
  check_config(c, path);
  return stated;
}

}  // namespace smore
