#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "model/source_config.h"

namespace smore {
namespace {

// Metadata by key and type; keys of the architecture are named without its prefix.
class GgufFields {
 public:
  GgufFields(const GgufContent& content, std::string where, std::string architecture)
      : content_(content), where_(std::move(where)), prefix_(std::move(architecture) + ".") {}

  const std::string& where() const { return where_; }
  bool has(const std::string& key) const { return content_.find(prefix_ + key) != nullptr; }

  int integer(const std::string& key, int64_t most) const {
    const GgufValue* value = content_.find(prefix_ + key);
    if (value == nullptr) refuse(key, "is missing; expected an integer");
    const int64_t* number = std::get_if<int64_t>(value);
    if (number == nullptr || *number < 1 || *number > most) {
      refuse(key,
             "expected an integer from 1 to " + std::to_string(most) + ", the same for all layers");
    }
    return static_cast<int>(*number);
  }

  int integer_or(const std::string& key, int otherwise, int64_t most) const {
    return has(key) ? integer(key, most) : otherwise;
  }

  float number(const std::string& key) const {
    const GgufValue* value = content_.find(prefix_ + key);
    if (value == nullptr) refuse(key, "is missing; expected a number");
    if (const double* real = std::get_if<double>(value)) return static_cast<float>(*real);
    if (const int64_t* integer = std::get_if<int64_t>(value)) return static_cast<float>(*integer);
    refuse(key, "expected a number");
  }

  float number_or(const std::string& key, float otherwise) const {
    return has(key) ? number(key) : otherwise;
  }

  std::string text_or(const std::string& key, std::string otherwise) const {
    if (!has(key)) return otherwise;
    const std::string* text = std::get_if<std::string>(content_.find(prefix_ + key));
    if (text == nullptr) refuse(key, "expected a string");
    return *text;
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& fault) const {
    throw Error(ErrorCode::kInvalidModel, where_ + ": " + prefix_ + key + ": " + fault);
  }

 private:
  const GgufContent& content_;
  std::string where_;
  std::string prefix_;
};

const Family& read_family(const GgufContent& content, const std::string& where) {
  const GgufFields general(content, where, "general");
  if (general.text_or("type", "model") != "model") {
    throw Error(ErrorCode::kUnsupported, where + ": holds a part (general.type " +
                                             general.text_or("type", "") + "), not a whole model");
  }
  const std::string name = general.text_or("architecture", "");
  if (name.empty()) general.refuse("architecture", "is missing; expected a name");
  const Family* family = find_family(&Family::gguf_name, name);
  if (family == nullptr) {
    throw Error(ErrorCode::kUnsupported, where + ": architecture \"" + name +
                                             "\" is not supported; " +
                                             family_names(&Family::gguf_name) + " are");
  }
  return *family;
}

void refuse_split(const GgufContent& content, const std::string& where) {
  const GgufFields split(content, where, "split");
  if (split.has("count") && split.integer("count", kMaxLayers) > 1) {
    throw Error(ErrorCode::kUnsupported,
                where + ": is one of several parts (split.count); merge them into one file first");
  }
}

void read_sizes(const GgufFields& fields, ModelConfig& c) {
  c.layers = fields.integer("block_count", kMaxLayers);
  c.width = fields.integer("embedding_length", kMaxWidth);
  c.ffn_width = fields.integer("feed_forward_length", kMaxWidth);
  c.heads = fields.integer("attention.head_count", kMaxHeads);
  c.kv_heads = fields.integer_or("attention.head_count_kv", c.heads, kMaxHeads);
  c.max_position = fields.integer("context_length", kMaxPosition);
  if (!fields.has("attention.key_length") && c.width % c.heads != 0) {
    fields.refuse("attention.key_length",
                  "is missing, and embedding_length is no multiple of the heads");
  }
  c.head_dim = fields.integer_or("attention.key_length", c.width / c.heads, kMaxWidth);
  if (fields.integer_or("attention.value_length", c.head_dim, kMaxWidth) != c.head_dim) {
    fields.refuse("attention.value_length", "must equal attention.key_length");
  }
  if (fields.integer_or("rope.dimension_count", c.head_dim, kMaxWidth) != c.head_dim) {
    throw Error(ErrorCode::kUnsupported,
                fields.where() + ": rope.dimension_count: partly rotated heads are not supported");
  }
}

void read_rope(const GgufFields& fields, ModelConfig& c) {
  c.rope_theta = fields.number_or("rope.freq_base", 10000);
  const std::string type = fields.text_or("rope.scaling.type", "none");
  if (type == "none") return;
  if (type != "linear") {
    throw Error(ErrorCode::kUnsupported, fields.where() + ": rope.scaling.type \"" + type +
                                             "\" is not supported; none and linear are");
  }
  c.rope_scaling.kind = RopeScalingKind::kLinear;
  c.rope_scaling.factor = fields.number("rope.scaling.factor");
}

void read_windows(const GgufFields& fields, ModelConfig& c) {
  const bool gemma = c.family == "gemma2";
  const bool windowed = gemma || (c.family == "llama" && fields.has("attention.sliding_window"));
  if (!windowed) return;
  c.sliding_window = gemma ? fields.integer_or("attention.sliding_window", 4096, kMaxPosition)
                           : fields.integer("attention.sliding_window", kMaxPosition);
  c.window_pattern = gemma ? WindowPattern::kEvenLayers : WindowPattern::kAll;
}

// The file does not say how queries are scaled, except by a key that some writers add. Of the
// published models only the largest, known by its layers, scales by the width per head.
void read_gemma_scales(const GgufFields& fields, ModelConfig& c) {
  constexpr int kLayersOf27B = 46;
  c.activation = Activation::kGeluTanh;
  c.attention_softcap = fields.number_or("attn_logit_softcapping", 50);
  c.logit_softcap = fields.number_or("final_logit_softcapping", 30);
  c.embedding_scale = std::sqrt(static_cast<float>(c.width));
  if (c.layers == kLayersOf27B) {
    c.query_scale = 1 / std::sqrt(static_cast<float>(c.width) / static_cast<float>(c.heads));
  }
}

// Files name the token that ends a turn; older ones only have it in the vocabulary.
void add_turn_ends(const GgufContent& content, std::vector<int32_t>& stops) {
  constexpr std::string_view kTurnEnds[] = {"<|eot_id|>", "<|im_end|>", "<end_of_turn>", "<|end|>"};
  const GgufValue* tokens = content.find("tokenizer.ggml.tokens");
  if (tokens == nullptr || !std::holds_alternative<GgufArray>(*tokens)) return;
  const auto texts = gguf_strings(std::get<GgufArray>(*tokens));
  if (!texts) return;
  for (size_t i = 0; i < texts->size(); ++i) {
    if (std::ranges::find(kTurnEnds, (*texts)[i]) == std::end(kTurnEnds)) continue;
    stops.push_back(static_cast<int32_t>(i));
  }
}

void read_tokens(const GgufContent& content, const std::string& where, ModelConfig& c) {
  const GgufFields tokenizer(content, where, "tokenizer.ggml");
  const auto token = [&](const std::string& key) {
    const GgufValue* value = content.find("tokenizer.ggml." + key);
    if (value == nullptr) return int32_t{-1};
    const int64_t* id = std::get_if<int64_t>(value);
    if (id == nullptr || *id < 0 || *id > kMaxVocab) tokenizer.refuse(key, "expected a token id");
    return static_cast<int32_t>(*id);
  };
  c.bos_token = token("bos_token_id");
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    if (const int32_t id = token(key); id >= 0) c.stop_tokens.push_back(id);
  }
  if (!tokenizer.has("eot_token_id")) add_turn_ends(content, c.stop_tokens);
  std::ranges::sort(c.stop_tokens);
  c.stop_tokens.erase(std::unique(c.stop_tokens.begin(), c.stop_tokens.end()), c.stop_tokens.end());
}

// The rows of the embedding count the vocabulary; what else tells its size must agree.
void read_vocabulary(const GgufContent& content, const GgufFields& fields, ModelConfig& c) {
  const auto embedding = std::ranges::find(content.tensors, "token_embd.weight", &TensorView::name);
  if (embedding == content.tensors.end()) {
    throw Error(ErrorCode::kInvalidModel, fields.where() + ": tensor token_embd.weight is missing");
  }
  if (embedding->rank != 2 || embedding->shape[0] > kMaxVocab) {
    throw Error(ErrorCode::kInvalidModel,
                fields.where() + ": tensor token_embd.weight: has shape " + shape_text(*embedding) +
                    "; expected [vocabulary, " + std::to_string(c.width) + "]");
  }
  c.vocab = static_cast<int>(embedding->shape[0]);
  if (fields.integer_or("vocab_size", c.vocab, kMaxVocab) != c.vocab) {
    fields.refuse("vocab_size", "contradicts the " + std::to_string(c.vocab) +
                                    " rows of tensor token_embd.weight");
  }
  const GgufValue* tokens = content.find("tokenizer.ggml.tokens");
  const GgufArray* list = tokens == nullptr ? nullptr : std::get_if<GgufArray>(tokens);
  if (list != nullptr && list->count != static_cast<uint64_t>(c.vocab)) {
    throw Error(ErrorCode::kInvalidModel,
                fields.where() + ": tokenizer.ggml.tokens has " + std::to_string(list->count) +
                    " tokens, tensor token_embd.weight " + std::to_string(c.vocab) + " rows");
  }
}

}  // namespace

StatedConfig read_gguf_config(const GgufContent& content, const std::string& where) {
  refuse_split(content, where);
  StatedConfig stated;
  stated.family = &read_family(content, where);
  const GgufFields fields(content, where, std::string(stated.family->gguf_name));
  ModelConfig& c = stated.config;
  c.family = stated.family->name;
  read_sizes(fields, c);
  c.norm_eps = fields.number("attention.layer_norm_rms_epsilon");
  c.query_scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  read_rope(fields, c);
  read_windows(fields, c);
  if (c.family == "gemma2") read_gemma_scales(fields, c);
  c.query_scale = fields.number_or("attention.scale", c.query_scale);
  read_vocabulary(content, fields, c);
  read_tokens(content, where, c);
  stated.tied = std::ranges::find(content.tensors, "output.weight", &TensorView::name) ==
                content.tensors.end();
  check_config(c, where);
  return stated;
}

}  // namespace smore
