#include "binding/batch_view.h"

#include <string>
#include <type_traits>

#include "core/error.h"

namespace smore {

namespace {

template <class T>
constexpr napi_typedarray_type kArrayType = std::is_same_v<T, float>      ? napi_float32_array
                                            : std::is_same_v<T, uint32_t> ? napi_uint32_array
                                                                          : napi_int32_array;

}  // namespace

template <class T>
T* BatchView::take(Napi::Object arrays, const char* name, size_t length) {
  const Napi::Value value = arrays.Get(name);
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument, std::string("batch: ") + name + " " + what);
  };
  if (!value.IsTypedArray()) refuse("is not a typed array");
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != kArrayType<T>) refuse("has another element type");
  if (array.ElementLength() < length) {
    refuse("has " + std::to_string(array.ElementLength()) + " elements, " + std::to_string(length) +
           " are needed");
  }
  held_.push_back(Napi::Persistent(array));
  uint8_t* base = static_cast<uint8_t*>(array.ArrayBuffer().Data());
  return reinterpret_cast<T*>(base + array.ByteOffset());
}

BatchView::BatchView(Napi::Object a, const StepLimits& limits) {
  const size_t rows = limits.rows;
  const size_t sequences = limits.sequences;
  const size_t offsets = sequences + 1;
  const size_t adapters = sequences * kMaxAdapters;
  static_assert(sizeof(StepCounts) == 2 * sizeof(int32_t));
  input_ = {
      .counts = reinterpret_cast<const StepCounts*>(take<int32_t>(a, "counts", 2)),
      .tokens = take<int32_t>(a, "tokens", rows),
      .next_tokens = take<int32_t>(a, "nextTokens", rows),
      .slot = take<int32_t>(a, "slot", sequences),
      .flags = take<uint32_t>(a, "flags", sequences),
      .row_start = take<int32_t>(a, "rowStart", offsets),
      .context = take<int32_t>(a, "context", sequences),
      .block_start = take<int32_t>(a, "blockStart", offsets),
      .blocks = take<int32_t>(a, "blocks", limits.blocks),
      .history_start = take<int32_t>(a, "historyStart", offsets),
      .history_prompt = take<int32_t>(a, "historyPrompt", sequences),
      .history = take<int32_t>(a, "history", limits.history),
      .bias_start = take<int32_t>(a, "biasStart", offsets),
      .bias_token = take<int32_t>(a, "biasToken", limits.biases),
      .bias_value = take<float>(a, "biasValue", limits.biases),
      .sample_index = take<int32_t>(a, "sampleIndex", sequences),
      .seed = take<uint32_t>(a, "seed", 2 * sequences),
      .temperature = take<float>(a, "temperature", sequences),
      .top_p = take<float>(a, "topP", sequences),
      .min_p = take<float>(a, "minP", sequences),
      .top_k = take<int32_t>(a, "topK", sequences),
      .presence = take<float>(a, "presence", sequences),
      .frequency = take<float>(a, "frequency", sequences),
      .repetition = take<float>(a, "repetition", sequences),
      .top_logprobs = take<int32_t>(a, "topLogprobs", sequences),
      .mask = take<uint32_t>(a, "mask", sequences * limits.mask_words),
      .route_start = take<int32_t>(a, "routeStart", offsets),
      .route_layers = take<uint32_t>(a, "routeLayers", sequences * limits.layer_words),
      .adapter_start = take<int32_t>(a, "adapterStart", offsets),
      .adapter = take<int32_t>(a, "adapter", adapters),
      .adapter_scale = take<float>(a, "adapterScale", adapters),
      .router_temperature = take<float>(a, "routerTemperature", adapters),
      .ban_start = take<int32_t>(a, "banStart", adapters + 1),
      .ban_level = take<int32_t>(a, "banLevel", limits.bans),
      .ban_expert = take<int32_t>(a, "banExpert", limits.bans),
  };
  output_ = {
      .status = take<int32_t>(a, "status", sequences),
      .sampled = take<int32_t>(a, "sampled", sequences),
      .sampled_logprob = take<float>(a, "sampledLogprob", sequences),
      .top_tokens = take<int32_t>(a, "topTokens", sequences * kMaxTopLogprobs),
      .top_logprobs = take<float>(a, "topLogprobValues", sequences * kMaxTopLogprobs),
      .row_logprob = take<float>(a, "rowLogprob", rows),
      .row_top_tokens = take<int32_t>(a, "rowTopTokens", rows * kMaxTopLogprobs),
      .row_top_logprobs = take<float>(a, "rowTopLogprobs", rows * kMaxTopLogprobs),
      .pooled = take<float>(a, "pooled", sequences * limits.width),
      .route_expert = take<int32_t>(a, "routeExpert", limits.routes),
      .route_score = take<float>(a, "routeScore", limits.routes),
  };
}

}  // namespace smore
