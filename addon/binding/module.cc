#include <napi.h>

#include "backends/backend.h"
#include "binding/engine_wrap.h"
#include "binding/js_values.h"
#include "binding/promise.h"
#include "core/error.h"
#include "engine/step.h"

// NativeModule of src/engine/native.ts.
namespace smore {

namespace {

Napi::Value abi_version(const Napi::CallbackInfo& call) {
  return Napi::Number::New(call.Env(), kAbiVersion);
}

Napi::Value list_cpu_paths(const Napi::CallbackInfo& call) {
  const std::span<const std::string> paths = cpu_paths();
  Napi::Array names = Napi::Array::New(call.Env(), paths.size());
  for (uint32_t i = 0; i < paths.size(); ++i) names.Set(i, paths[i]);
  return names;
}

Napi::Value load_engine(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    if (!call[0].IsObject() || !call[1].IsFunction()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "loadEngine takes a configuration and a function for progress");
    }
    return EngineSession::load(call.Env(), to_engine_config(call[0].As<Napi::Object>()),
                               call[1].As<Napi::Function>(), EngineWrap::make);
  });
}

Napi::Object define_module(Napi::Env env, Napi::Object exports) {
  EngineWrap::define(env);
  exports.Set("abiVersion", Napi::Function::New<abi_version>(env, "abiVersion"));
  exports.Set("cpuPaths", Napi::Function::New<list_cpu_paths>(env, "cpuPaths"));
  exports.Set("loadEngine", Napi::Function::New<load_engine>(env, "loadEngine"));
  return exports;
}

}  // namespace

}  // namespace smore

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  return smore::define_module(env, exports);
}

NODE_API_MODULE(smore, initialise)
