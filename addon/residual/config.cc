#include "residual/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <span>
#include <string_view>

#include "core/error.h"

namespace smore {
namespace {

constexpr int64_t kMostExperts = 4096;
constexpr int64_t kLargestWidth = int64_t{1} << 20;
constexpr int kDefaultProjection = 32;
constexpr double kDefaultLoraAlpha = 8;

// Of all patterns of one object: a config's patterns meet each of the base's linears.
constexpr size_t kMostPatternStates = size_t{1} << 17;

// Fields that training or bookkeeping writes and inference does not read, in either format.
constexpr std::string_view kUnread[] = {"auto_mapping",   "base_model_name_or_path",
                                        "inference_mode", "peft_version",
                                        "revision",       "task_type"};

// The same of S'MoRE.
constexpr std::string_view kUnreadSmore[] = {
    "balance_loss_weight", "bias",         "init_method", "init_moe_weights",
    "layer_forward_mode",  "lora_scaling", "moe_dropout"};

// The same of LoRA; the last ones are arguments of features whose switch is refused when it is on.
constexpr std::string_view kUnreadLora[] = {
    "ensure_weight_tying", "layers_pattern",    "lora_dropout",  "megatron_config",
    "megatron_core",       "corda_config",      "eva_config",    "loftq_config",
    "lora_ga_config",      "qalora_group_size", "runtime_config"};

constexpr std::string_view kReadCommon[] = {"peft_type", "target_modules", "exclude_modules",
                                            "layers_to_transform"};
constexpr std::string_view kReadSmore[] = {
    "activation_position", "dim_downproj_x", "expert_act_fn",
    "expert_dims",         "gate_act_fn",    "gate_arch",
    "gate_dims",           "gate_type",      "is_shared_expert_pool",
    "lora_alpha",          "moe_arch",       "num_active",
    "num_experts"};
constexpr std::string_view kReadLora[] = {"alpha_pattern", "bias",      "init_lora_weights",
                                          "lora_alpha",    "lora_bias", "r",
                                          "rank_pattern",  "use_rslora"};

bool contains(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Null, false, "none" and empty containers say that a feature is off.
bool is_off(const Json& value) {
  if (value.is_null()) return true;
  if (const bool* flag = value.boolean()) return !*flag;
  if (const std::string* text = value.string()) return text->empty() || *text == "none";
  if (const Json::Array* array = value.array()) return array->empty();
  if (const Json::Object* object = value.object()) return object->empty();
  return false;
}

// A setting that is on and that nothing above reads would silently change nothing here although it
// changes the adapter's output: modules_to_save, use_dora, a misspelt field.
void refuse_unread(const Json& json, const JsonFields& fields,
                   std::span<const std::string_view> read,
                   std::span<const std::string_view> unread) {
  for (const auto& [name, value] : *json.object()) {
    if (contains(kReadCommon, name) || contains(kUnread, name) || contains(read, name) ||
        contains(unread, name) || is_off(value)) {
      continue;
    }
    throw Error(ErrorCode::kUnsupported, fields.where() + ": " + name + ": is " + value.dump() +
                                             "; this server does not compute that");
  }
}

std::vector<int> list(const JsonFields& fields, std::string_view name, int64_t least,
                      int64_t most) {
  const std::vector<int64_t> values = fields.integers(name, least, most);
  return {values.begin(), values.end()};
}

Curve parse_curve(const JsonFields& fields, std::string_view name) {
  const std::string text = fields.text_or(name, "relu");
  if (text == "identity") return Curve::kIdentity;
  if (text == "relu") return Curve::kRelu;
  if (text == "tanh") return Curve::kTanh;
  if (text.starts_with("prelu|")) {
    double initial = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + 6, end, initial);
    if (parsed.ec == std::errc() && parsed.ptr == end) return Curve::kPrelu;
  }
  fields.refuse(
      name,
      "is '" + text + "', not identity, relu, tanh or prelu|V (V is the initial slope, a number)");
}

Combine parse_position(const JsonFields& fields) {
  const std::string text = fields.text_or("activation_position", "all");
  if (text == "all") return Combine::kTreeAll;
  if (text == "child") return Combine::kTreeChild;
  if (text == "child_v2") return Combine::kTreeChildV2;
  fields.refuse("activation_position", "is '" + text + "', not all, child or child_v2");
}

GateType parse_gate_type(const JsonFields& fields) {
  const std::string text = fields.text_or("gate_type", "noisy_topk");
  if (text == "noisy_topk") return GateType::kNoisyTopK;
  if (text == "switch") return GateType::kSwitch;
  if (text == "dense") return GateType::kDense;
  fields.refuse("gate_type", "is '" + text + "', not noisy_topk, switch or dense");
}

bool parse_gate_mlp(const JsonFields& fields) {
  const std::string text = fields.text_or("gate_arch", "mlp");
  if (text == "mlp") return true;
  if (text == "linear" || text == "attention") return false;  // the official code runs both alike
  fields.refuse("gate_arch", "is '" + text + "', not mlp, linear or attention");
}

void parse_alpha(const JsonFields& fields, SmoreConfig& config) {
  if (!fields.has("lora_alpha")) return;
  config.alpha = fields.numbers("lora_alpha");
  if (config.alpha.size() != config.experts.size()) {
    fields.refuse("lora_alpha", "has " + std::to_string(config.alpha.size()) + " entries for " +
                                    std::to_string(config.levels()) +
                                    " levels (num_experts); one number per level or null");
  }
}

void check_levels(const JsonFields& fields, const SmoreConfig& config) {
  const std::pair<const char*, size_t> lists[] = {{"num_active", config.active.size()},
                                                  {"expert_dims", config.ranks.size()},
                                                  {"gate_dims", config.gate_dims.size()}};
  if (config.experts.empty()) fields.refuse("num_experts", "is empty; one integer per level");
  for (const auto& [name, size] : lists) {
    if (size != config.experts.size()) {
      fields.refuse(name, "has " + std::to_string(size) + " entries, num_experts has " +
                              std::to_string(config.levels()) + "; each level needs one");
    }
  }
  if (config.gate_type == GateType::kDense) return;  // num_active is not read then
  for (int l = 0; l < config.levels(); ++l) {
    if (config.active[l] >= 1 && config.active[l] <= config.experts[l]) continue;
    fields.refuse("num_active", "chooses " + std::to_string(config.active[l]) + " of " +
                                    std::to_string(config.experts[l]) + " experts at level " +
                                    std::to_string(l) + "; at least 1 and at most num_experts");
  }
}

SmoreConfig parse_smore(const Json& json, const JsonFields& fields) {
  const std::string architecture = fields.text_or("moe_arch", "llama_moe");
  if (architecture != "smore") {
    fields.refuse("moe_arch", "is '" + architecture + "'; only 'smore' has a known computation");
  }
  SmoreConfig config;
  config.experts = list(fields, "num_experts", 1, kMostExperts);
  config.active = list(fields, "num_active", 0, kMostExperts);
  config.ranks = list(fields, "expert_dims", 1, kLargestWidth);
  config.gate_dims = list(fields, "gate_dims", 1, kLargestWidth);
  config.gate_type = parse_gate_type(fields);
  config.gate_mlp = parse_gate_mlp(fields);
  config.gate_curve = parse_curve(fields, "gate_act_fn");
  config.expert_curve = parse_curve(fields, "expert_act_fn");
  config.combine = parse_position(fields);
  if (fields.has("dim_downproj_x")) {
    const int64_t u = fields.integer("dim_downproj_x", -kLargestWidth, kLargestWidth);
    config.projection = static_cast<int>(std::max<int64_t>(u, 0));
  } else if (json.member("dim_downproj_x") == nullptr) {
    config.projection = kDefaultProjection;  // absent, whereas null means "as wide as the input"
  }
  config.shared_pool = fields.boolean_or("is_shared_expert_pool", false);
  check_levels(fields, config);
  parse_alpha(fields, config);
  return config;
}

ModulePattern parse_pattern(const JsonFields& fields, std::string_view name, const char* verb,
                            const std::string& text) {
  try {
    return ModulePattern(text);
  } catch (const PatternFault& fault) {
    const std::string shown = text.substr(0, ModulePattern::kLongest);
    fields.refuse(name, std::string(verb) + " the pattern '" + shown + "', " + fault.what());
  }
}

template <class T>
ModuleValues<T> parse_patterns(const JsonFields& fields, std::string_view name) {
  ModuleValues<T> values;
  if (!fields.has(name)) return values;
  const Json::Object* object = fields.find(name)->object();
  if (object == nullptr) fields.refuse(name, "is not an object of module patterns");
  const JsonFields entries = fields.fields(name);
  size_t states = 0;
  for (const auto& [text, value] : *object) {
    ModulePattern pattern = parse_pattern(fields, name, "has", text);
    states += pattern.states();
    if (states > kMostPatternStates) fields.refuse(name, "has too many patterns to compare");
    if constexpr (std::is_same_v<T, int>) {
      values.emplace_back(std::move(pattern),
                          static_cast<int>(entries.integer(text, 1, kLargestWidth)));
    } else {
      values.emplace_back(std::move(pattern), entries.number(text));
    }
  }
  return values;
}

// Some ways of initialising LoRA also change the base weights that the adapter then belongs to.
void refuse_changed_base(const JsonFields& fields) {
  const Json* init = fields.find("init_lora_weights");
  const std::string* text = init == nullptr ? nullptr : init->string();
  if (text == nullptr) return;
  for (const std::string_view kept : {"gaussian", "eva", "orthogonal"}) {
    if (*text == kept) return;
  }
  throw Error(ErrorCode::kUnsupported,
              fields.where() + ": init_lora_weights: is '" + *text +
                  "', which changes the base weights; save the adapter converted to plain LoRA "
                  "(PEFT: save_pretrained with path_initial_model_for_weight_conversion)");
}

LoraConfig parse_lora(const JsonFields& fields) {
  if (const Json* r = fields.find("r"); r != nullptr && r->array() != nullptr) {
    throw Error(ErrorCode::kUnsupported,
                fields.where() + ": r: is a list, as MoLA writes it; plain LoRA has one integer");
  }
  const std::string bias = fields.text_or("bias", "none");
  if (bias != "none") {
    throw Error(ErrorCode::kUnsupported,
                fields.where() + ": bias: is '" + bias +
                    "', which trains biases of the base; only 'none' can be served beside others");
  }
  refuse_changed_base(fields);
  LoraConfig config;
  config.rank = static_cast<int>(fields.integer("r", 1, kLargestWidth));
  config.alpha = fields.has("lora_alpha") ? fields.number("lora_alpha") : kDefaultLoraAlpha;
  config.rank_stabilized = fields.boolean_or("use_rslora", false);
  config.biased = fields.boolean_or("lora_bias", false);
  config.rank_pattern = parse_patterns<int>(fields, "rank_pattern");
  config.alpha_pattern = parse_patterns<double>(fields, "alpha_pattern");
  return config;
}

ModuleNames parse_names(const JsonFields& fields, std::string_view name) {
  ModuleNames modules;
  const Json* value = fields.find(name);
  if (value == nullptr) return modules;
  if (const std::string* text = value->string()) {
    if (text->empty()) return modules;
    modules.pattern = parse_pattern(fields, name, "is", *text == "all-linear" ? ".*" : *text);
    return modules;
  }
  if (value->array() == nullptr) fields.refuse(name, "is neither a list of names nor a string");
  for (const Json& entry : *value->array()) {
    if (entry.string() == nullptr) fields.refuse(name, "has an entry that is not a string");
    modules.names.push_back(*entry.string());
  }
  return modules;
}

TargetModules parse_targets(const JsonFields& fields) {
  TargetModules targets;
  targets.chosen = parse_names(fields, "target_modules");
  targets.excluded = parse_names(fields, "exclude_modules");
  if (const Json* layers = fields.find("layers_to_transform")) {
    if (const int64_t* one = layers->integer()) {
      targets.layers.push_back(static_cast<int>(*one));
    } else {
      targets.layers = list(fields, "layers_to_transform", 0, kLargestWidth);
    }
  }
  return targets;
}

}  // namespace

bool ModuleNames::contain(const std::string& module) const {
  if (pattern) return pattern->matches(module);
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return module == name || module.ends_with("." + name);
  });
}

bool TargetModules::lists_layer(int layer) const {
  return layers.empty() || std::find(layers.begin(), layers.end(), layer) != layers.end();
}

bool TargetModules::matches(const std::string& module, int layer) const {
  return lists_layer(layer) && !excluded.contain(module) && chosen.contain(module);
}

AdapterConfig parse_adapter_config(const Json& json, const std::string& where) {
  const JsonFields fields(json, where, ErrorCode::kInvalidAdapter);
  const std::string& type = fields.text("peft_type");
  AdapterConfig config;
  if (type == "HIER_MOE") {
    config.kind = parse_smore(json, fields);
    refuse_unread(json, fields, kReadSmore, kUnreadSmore);
  } else if (type == "LORA") {
    config.kind = parse_lora(fields);
    refuse_unread(json, fields, kReadLora, kUnreadLora);
  } else {
    throw Error(ErrorCode::kUnsupported, where + ": peft_type: is '" + type +
                                             "'; this server computes HIER_MOE (S'MoRE) and LORA");
  }
  config.targets = parse_targets(fields);
  return config;
}

}  // namespace smore
