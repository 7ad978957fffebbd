#include "model/inspect.h"

#include <charconv>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/regular_file.h"
#include "io/safetensors.h"
#include "model/source.h"
#include "model/source_files.h"
#include "residual/config.h"

namespace smore {
namespace {

template <class T>
Json json_list(const std::vector<T>& values) {
  Json::Array list;
  for (const T& value : values) list.emplace_back(value);
  return Json(std::move(list));
}

// The shortest decimal that is this float, not the double next to it.
Json json_float(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double shortest = 0;
  std::from_chars(text, end, shortest);
  return Json(shortest);
}

Json describe_rope_scaling(const ModelConfig& c) {
  const RopeScaling& scaling = c.rope_scaling;
  switch (scaling.kind) {
    case RopeScalingKind::kNone:
      return c.rope_factors.empty() ? Json() : Json("factors");
    case RopeScalingKind::kLinear:
      return Json(Json::Object{{"type", Json("linear")}, {"factor", json_float(scaling.factor)}});
    case RopeScalingKind::kLlama3:
      return Json(Json::Object{{"type", Json("llama3")},
                               {"factor", json_float(scaling.factor)},
                               {"lowFreqFactor", json_float(scaling.low_freq_factor)},
                               {"highFreqFactor", json_float(scaling.high_freq_factor)},
                               {"originalMaxPosition", Json(scaling.original_max_position)}});
  }
  return Json();
}

const char* window_name(WindowPattern pattern) {
  switch (pattern) {
    case WindowPattern::kNone:
      return "none";
    case WindowPattern::kAll:
      return "all layers";
    case WindowPattern::kEvenLayers:
      return "even layers";
  }
  return "";
}

Json describe_config(const ModelSource& source) {
  const ModelConfig& c = source.config;
  return Json(Json::Object{
      {"family", Json(c.family)},
      {"layers", Json(c.layers)},
      {"width", Json(c.width)},
      {"ffnWidth", Json(c.ffn_width)},
      {"heads", Json(c.heads)},
      {"kvHeads", Json(c.kv_heads)},
      {"headDim", Json(c.head_dim)},
      {"vocab", Json(c.vocab)},
      {"maxPosition", Json(c.max_position)},
      {"tied", Json(!source.lm_head.has_value())},
      {"activation", Json(c.activation == Activation::kSilu ? "silu" : "gelu_tanh")},
      {"normEps", json_float(c.norm_eps)},
      {"ropeTheta", json_float(c.rope_theta)},
      {"ropeScaling", describe_rope_scaling(c)},
      {"queryScale", json_float(c.query_scale)},
      {"embeddingScale", json_float(c.embedding_scale)},
      {"attentionSoftcap", json_float(c.attention_softcap)},
      {"logitSoftcap", json_float(c.logit_softcap)},
      {"slidingWindow", Json(c.sliding_window)},
      {"windowPattern", Json(window_name(c.window_pattern))},
      {"stopTokens", json_list(c.stop_tokens)},
      {"bosToken", Json(c.bos_token)},
  });
}

// Adds the list and the sums of tensors to a description.
void describe_tensors(const std::vector<TensorView>& tensors, Json::Object& description) {
  Json::Array list;
  std::map<std::string, int64_t> by_dtype;
  int64_t parameters = 0;
  int64_t bytes = 0;
  for (const TensorView& tensor : tensors) {
    const std::string dtype = dtype_info(tensor.dtype).name;
    const auto size = static_cast<int64_t>(tensor.bytes());
    Json::Array shape;
    for (int i = 0; i < tensor.rank; ++i) shape.emplace_back(tensor.shape[i]);
    list.emplace_back(Json::Object{{"name", Json(tensor.name)},
                                   {"dtype", Json(dtype)},
                                   {"shape", Json(std::move(shape))},
                                   {"bytes", Json(size)}});
    by_dtype[dtype] += size;
    parameters += tensor.elements();
    bytes += size;
  }
  Json::Object dtypes;
  for (const auto& [dtype, size] : by_dtype) dtypes.emplace_back(dtype, Json(size));
  const auto count = static_cast<int64_t>(tensors.size());
  description.emplace_back("tensors", Json(std::move(list)));
  description.emplace_back("totals", Json(Json::Object{{"tensors", Json(count)},
                                                       {"parameters", Json(parameters)},
                                                       {"bytes", Json(bytes)},
                                                       {"byDtype", Json(std::move(dtypes))}}));
}

Json describe_value(const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value)) return Json(array->type_name());
  if (const auto* integer = std::get_if<int64_t>(&value)) return Json(*integer);
  if (const auto* real = std::get_if<double>(&value)) return Json(*real);
  if (const auto* flag = std::get_if<bool>(&value)) return Json(*flag);
  return Json(std::get<std::string>(value));
}

// Opens the model as a server would, to say whether it can be served and as what.
void describe_model(const std::string& path, Json::Object& description) {
  Json problem;
  Json config;
  try {
    config = describe_config(open_model(path));
  } catch (const Error& error) {
    problem = Json(std::string(error.what()));
  }
  description.emplace_back("problem", std::move(problem));
  description.emplace_back("config", std::move(config));
}

std::string inspect_gguf(const std::string& path) {
  const GgufFile file = open_gguf(path);
  Json::Object description{{"kind", Json("model")}, {"format", Json("gguf")}};
  describe_model(path, description);
  Json::Object metadata;
  for (const GgufEntry& entry : file.content.metadata) {
    metadata.emplace_back(entry.key, describe_value(entry.value));
  }
  description.emplace_back("metadata", Json(std::move(metadata)));
  describe_tensors(file.content.tensors, description);
  return Json(std::move(description)).dump();
}

Json describe_metadata(const SafetensorsContent& content) {
  Json::Object metadata;
  for (const auto& [key, value] : content.metadata) metadata.emplace_back(key, Json(value));
  return Json(std::move(metadata));
}

std::string inspect_safetensors(const std::string& path) {
  const SafetensorsFile file = open_safetensors(path);
  Json::Object description{{"kind", Json("tensors")},
                           {"format", Json("safetensors")},
                           {"metadata", describe_metadata(file.content)}};
  describe_tensors(file.content.tensors, description);
  return Json(std::move(description)).dump();
}

// What a server refuses whichever base it serves.
Json adapter_problem(const Json& config, const std::string& where) {
  try {
    parse_adapter_config(config, where);
    return Json();
  } catch (const Error& error) {
    return Json(std::string(error.what()));
  }
}

std::string inspect_adapter(const std::string& folder) {
  const std::string config_path = folder + "/adapter_config.json";
  const SafetensorsFile file = open_safetensors(folder + "/adapter_model.safetensors");
  const Json config = Json::parse(read_text_file(config_path), config_path);
  Json::Object description{{"kind", Json("adapter")},
                           {"format", Json("safetensors")},
                           {"problem", adapter_problem(config, config_path)},
                           {"config", config},
                           {"metadata", describe_metadata(file.content)}};
  describe_tensors(file.content.tensors, description);
  return Json(std::move(description)).dump();
}

std::string inspect_folder(const std::string& folder) {
  Json::Object description{{"kind", Json("model")}, {"format", Json("safetensors")}};
  describe_model(folder, description);
  std::vector<TensorView> tensors;
  const std::vector<SafetensorsFile> files = open_weight_files(folder);
  for (const SafetensorsFile& file : files) {
    tensors.insert(tensors.end(), file.content.tensors.begin(), file.content.tensors.end());
  }
  describe_tensors(tensors, description);
  return Json(std::move(description)).dump();
}

}  // namespace

std::string inspect_json(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code unreadable;  // then opening it as a file says why
  if (fs::is_directory(path, unreadable)) {
    return has_entry(path + "/adapter_config.json") ? inspect_adapter(path) : inspect_folder(path);
  }
  return path.ends_with(".safetensors") ? inspect_safetensors(path) : inspect_gguf(path);
}

}  // namespace smore
