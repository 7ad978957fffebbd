#include "binding/js_values.h"

#include <cmath>
#include <limits>
#include <string>

#include "core/error.h"

namespace smore {

namespace {

constexpr double kMaxSafeInteger = 9007199254740991.0;

[[noreturn]] void refuse(const char* field, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument,
              std::string("engine configuration: ") + field + " " + what);
}

uint64_t whole_number(Napi::Object object, const char* field, double max = kMaxSafeInteger) {
  const Napi::Value value = object.Get(field);
  if (!value.IsNumber()) refuse(field, "is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= max) || number != std::floor(number)) {
    refuse(field, "is " + std::to_string(number) + ", not a whole number in range");
  }
  return static_cast<uint64_t>(number);
}

int small_number(Napi::Object object, const char* field) {
  return static_cast<int>(whole_number(object, field, std::numeric_limits<int>::max()));
}

bool flag(Napi::Object object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsBoolean()) refuse(field, "is not a boolean");
  return value.As<Napi::Boolean>();
}

std::string text(Napi::Object object, const char* field) {
  const Napi::Value value = object.Get(field);
  if (!value.IsString()) refuse(field, "is not a string");
  return value.As<Napi::String>();
}

ExpertType experts_of(const std::string& name) {
  if (name == "stored") return ExpertType::kStored;
  if (name == "bf16") return ExpertType::kBf16;
  if (name == "int8") return ExpertType::kInt8;
  refuse("adapterDtype", "is \"" + name + "\", not one of stored, bf16, int8");
}

Quantize quantize_of(const std::string& name) {
  if (name == "none") return Quantize::kNone;
  if (name == "q8_0") return Quantize::kQ8_0;
  if (name == "q4_0") return Quantize::kQ4_0;
  refuse("quantize", "is \"" + name + "\", not one of none, q8_0, q4_0");
}

GpuProducts products_of(const std::string& name) {
  if (name == "invariant") return GpuProducts::kInvariant;
  if (name == "cublaslt") return GpuProducts::kCublasLt;
  refuse("gpuProducts", "is \"" + name + "\", not one of invariant, cublaslt");
}

// Sets properties of one new object, numbers as doubles.
class Fields {
 public:
  explicit Fields(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}

  template <class T>
  Fields& set(const char* name, T value) {
    object_.Set(name, Napi::Value::From(env_, value));
    return *this;
  }
  Fields& number(const char* name, double value) { return set(name, value); }
  Napi::Object frozen() {
    object_.Freeze();
    return object_;
  }

 private:
  Napi::Env env_;
  Napi::Object object_;
};

Napi::Value to_js(Napi::Env env, int32_t value) { return Napi::Number::New(env, value); }

Napi::Value to_js(Napi::Env env, const TreeLevel& level) {
  return Fields(env).number("experts", level.experts).number("active", level.active).frozen();
}

Napi::Value to_js(Napi::Env env, const AdaptedLinear& linear) {
  return Fields(env)
      .number("layer", linear.layer)
      .set("name", std::string(linear_name(linear.site)))
      .frozen();
}

template <class T>
Napi::Array to_js(Napi::Env env, const std::vector<T>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    array.Set(static_cast<uint32_t>(i), to_js(env, values[i]));
  }
  array.Freeze();
  return array;
}

}  // namespace

EngineConfig to_engine_config(Napi::Object object) {
  return {.model_path = text(object, "modelPath"),
          .device = text(object, "device"),
          .threads = small_number(object, "threads"),
          .max_model_len = small_number(object, "maxModelLen"),
          .max_batch = small_number(object, "maxBatch"),
          .max_batch_tokens = small_number(object, "maxBatchTokens"),
          .kv_memory = whole_number(object, "kvMemory"),
          .adapter_memory = whole_number(object, "adapterMemory"),
          .gpu_adapter_memory = whole_number(object, "gpuAdapterMemory"),
          .products = products_of(text(object, "gpuProducts")),
          .cublaslt = text(object, "cublaslt"),
          .max_loaded_adapters = small_number(object, "maxLoadedAdapters"),
          .activations = activation_type(text(object, "activations")),
          .experts = experts_of(text(object, "adapterDtype")),
          .quantize = quantize_of(text(object, "quantize")),
          .profile = flag(object, "profile"),
          .kernel_path = text(object, "kernelPath")};
}

Napi::Object to_js(Napi::Env env, const EngineInfo& info) {
  const Napi::Object limits = Fields(env)
                                  .number("rows", info.limits.rows)
                                  .number("sequences", info.limits.sequences)
                                  .number("blocks", info.limits.blocks)
                                  .number("history", info.limits.history)
                                  .number("biases", info.limits.biases)
                                  .number("bans", info.limits.bans)
                                  .number("routes", info.limits.routes)
                                  .number("width", info.limits.width)
                                  .number("maskWords", info.limits.mask_words)
                                  .number("layerWords", info.limits.layer_words)
                                  .frozen();
  return Fields(env)
      .set("family", info.family)
      .number("layers", info.layers)
      .number("width", info.width)
      .number("vocab", info.vocab)
      .number("maxModelLen", info.max_model_len)
      .set("stopTokens", to_js(env, info.stop_tokens))
      .set("device", info.device)
      .set("kernelPath", info.kernel_path)
      .number("threads", info.threads)
      .number("kvPages", info.kv_pages)
      .number("pageBytes", static_cast<double>(info.page_bytes))
      .number("parameters", static_cast<double>(info.parameters))
      .number("weightBytes", static_cast<double>(info.weight_bytes))
      .set("limits", limits)
      .number("slots", info.slots)
      .frozen();
}

Napi::Object to_js(Napi::Env env, int handle, const AdapterInfo& info) {
  return Fields(env)
      .number("handle", handle)
      .set("kind", info.kind)
      .number("parameters", static_cast<double>(info.parameters))
      .number("bytes", static_cast<double>(info.bytes))
      .number("trunkBytes", static_cast<double>(info.trunk_bytes))
      .number("sites", info.sites)
      .number("pages", info.pages)
      .number("levels", info.levels)
      .set("tree", to_js(env, info.tree))
      .set("linears", to_js(env, info.linears))
      .frozen();
}

Napi::Object to_js(Napi::Env env, const CachePlace& place) {
  return Fields(env)
      .set("resident", place.resident)
      .number("residentBytes", static_cast<double>(place.resident_bytes))
      .number("hits", static_cast<double>(place.hits))
      .number("misses", static_cast<double>(place.misses))
      .set("fault", place.fault)
      .frozen();
}

Napi::Object to_js(Napi::Env env, const Peaks& peaks) {
  return Fields(env)
      .number("readBytes", peaks.read_bytes)
      .number("int8Operations", peaks.int8_operations)
      .number("floatOperations", peaks.float_operations)
      .frozen();
}

Napi::Object to_js(Napi::Env env, const VerifyResult& result) {
  return Fields(env)
      .set("file", result.file)
      .set("passed", result.passed)
      .set("detail", result.detail)
      .frozen();
}

}  // namespace smore
