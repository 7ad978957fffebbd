#include <napi.h>

#include <algorithm>
#include <string>
#include <thread>

#include "backends/backend.h"
#include "binding/engine_wrap.h"
#include "binding/js_values.h"
#include "binding/promise.h"
#include "core/error.h"
#include "core/thread_cpu_time.h"
#include "core/thread_priority.h"
#include "core/trim_heap.h"
#include "engine/step.h"
#include "model/inspect.h"
#include "residual/verify.h"

// NativeModule of src/engine/native.ts.
namespace smore {

namespace {

Napi::Value abi_version(const Napi::CallbackInfo& call) {
  return Napi::Number::New(call.Env(), kAbiVersion);
}

Napi::Value trim(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    return promise_of(call.Env(), trim_heap,
                      [](Napi::Env env, bool trimmed) { return Napi::Boolean::New(env, trimmed); });
  });
}

Napi::Value read_thread_cpu_seconds(const Napi::CallbackInfo& call) {
  return Napi::Number::New(call.Env(), thread_cpu_seconds());
}

void hurry_thread(const Napi::CallbackInfo&) { want_short_turns(); }

Napi::Value list_cpu_paths(const Napi::CallbackInfo& call) {
  const std::span<const std::string> paths = cpu_paths();
  Napi::Array names = Napi::Array::New(call.Env(), paths.size());
  for (uint32_t i = 0; i < paths.size(); ++i) names.Set(i, paths[i]);
  return names;
}

std::string text_argument(const Napi::CallbackInfo& call, size_t index, const char* what) {
  if (!call[index].IsString()) {
    throw Error(ErrorCode::kInvalidArgument, std::string(what) + " is not a string");
  }
  return call[index].As<Napi::String>();
}

Napi::Value list_cuda_devices(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    const std::vector<int> usable = cuda_devices().usable;
    Napi::Array names = Napi::Array::New(call.Env(), usable.size());
    for (uint32_t i = 0; i < usable.size(); ++i) names.Set(i, "cuda:" + std::to_string(usable[i]));
    return names;
  });
}

Napi::Value tell_device_memory(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    const std::string device = text_argument(call, 0, "deviceMemory: the device");
    const BackendOptions options{.path = text_argument(call, 1, "deviceMemory: the kernel path")};
    const std::optional<uint64_t> bytes = device_memory(device, options);
    return bytes ? Napi::Number::New(call.Env(), static_cast<double>(*bytes)).As<Napi::Value>()
                 : call.Env().Null();
  });
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

Napi::Value verify_layer_file(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    const std::string path = text_argument(call, 1, "verifyLayer: the kernel path");
    const bool gpu = path.starts_with("cuda:");
    const BackendOptions options{
        .threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency())),
        .activations = activation_type(text_argument(call, 2, "verifyLayer: the activations")),
        .path = gpu ? "" : path};
    return promise_of(
        call.Env(),
        [options, device = gpu ? path : "cpu",
         file = text_argument(call, 0, "verifyLayer: the file")] {
          return verify_layer(file, *make_backend(device, options));
        },
        [](Napi::Env env, const VerifyResult& result) { return to_js(env, result); });
  });
}

Napi::Value measure_machine(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    if (!call[1].IsNumber()) {
      throw Error(ErrorCode::kInvalidArgument, "measurePeaks: the number of threads is missing");
    }
    const BackendOptions options{.threads = call[1].As<Napi::Number>().Int32Value(),
                                 .path = text_argument(call, 0, "measurePeaks: the kernel path")};
    return promise_of(
        call.Env(), [options] { return measure_peaks(options); },
        [](Napi::Env env, const Peaks& peaks) { return to_js(env, peaks); });
  });
}

Napi::Value inspect(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    return promise_of(
        call.Env(),
        [path = text_argument(call, 0, "inspect: the path")] { return inspect_json(path); },
        [](Napi::Env env, const std::string& json) { return Napi::String::New(env, json); });
  });
}

Napi::Object define_module(Napi::Env env, Napi::Object exports) {
  EngineWrap::define(env);
  exports.Set("abiVersion", Napi::Function::New<abi_version>(env, "abiVersion"));
  exports.Set("trimHeap", Napi::Function::New<trim>(env, "trimHeap"));
  exports.Set("threadCpuSeconds",
              Napi::Function::New<read_thread_cpu_seconds>(env, "threadCpuSeconds"));
  exports.Set("hurryThread", Napi::Function::New<hurry_thread>(env, "hurryThread"));
  exports.Set("cpuPaths", Napi::Function::New<list_cpu_paths>(env, "cpuPaths"));
  exports.Set("loadEngine", Napi::Function::New<load_engine>(env, "loadEngine"));
  exports.Set("cudaDevices", Napi::Function::New<list_cuda_devices>(env, "cudaDevices"));
  exports.Set("deviceMemory", Napi::Function::New<tell_device_memory>(env, "deviceMemory"));
  exports.Set("verifyLayer", Napi::Function::New<verify_layer_file>(env, "verifyLayer"));
  exports.Set("measurePeaks", Napi::Function::New<measure_machine>(env, "measurePeaks"));
  exports.Set("inspect", Napi::Function::New<inspect>(env, "inspect"));
  return exports;
}

}  // namespace

}  // namespace smore

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  return smore::define_module(env, exports);
}

NODE_API_MODULE(smore, initialise)
