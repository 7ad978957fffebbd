#include "binding/engine_wrap.h"

#include <atomic>
#include <string>
#include <utility>

#include "binding/js_values.h"
#include "binding/promise.h"
#include "core/error.h"

namespace smore {

namespace {

// Carries a session into the constructor.
using Session = Napi::External<std::shared_ptr<EngineSession>>;

// Kept per environment: worker threads of Node each have their own.
struct Classes {
  Napi::FunctionReference engine;
};

bool is_float64_array(Napi::Value value, size_t length) {
  if (!value.IsTypedArray()) return false;
  const auto array = value.As<Napi::TypedArray>();
  return array.TypedArrayType() == napi_float64_array && array.ElementLength() >= length;
}

Napi::Array to_js(Napi::Env env, const std::vector<std::vector<uint64_t>>& levels) {
  Napi::Array outer = Napi::Array::New(env, levels.size());
  for (size_t level = 0; level < levels.size(); ++level) {
    Napi::Array inner = Napi::Array::New(env, levels[level].size());
    for (size_t expert = 0; expert < levels[level].size(); ++expert) {
      inner.Set(static_cast<uint32_t>(expert), static_cast<double>(levels[level][expert]));
    }
    outer.Set(static_cast<uint32_t>(level), inner);
  }
  return outer;
}

Napi::Array to_js(Napi::Env env, const LinearRouting& linears) {
  Napi::Array outer = Napi::Array::New(env, linears.size());
  for (size_t linear = 0; linear < linears.size(); ++linear) {
    outer.Set(static_cast<uint32_t>(linear), to_js(env, linears[linear]));
  }
  return outer;
}

int handle_of(const Napi::CallbackInfo& call) {
  if (!call[0].IsNumber()) {
    throw Error(ErrorCode::kInvalidArgument, "an adapter handle must be a number");
  }
  return call[0].As<Napi::Number>().Int32Value();
}

}  // namespace

void EngineWrap::define(Napi::Env env) {
  const Napi::Function engine = DefineClass(
      env, "Engine",
      {InstanceMethod<&EngineWrap::create_batch>("createBatch"),
       InstanceMethod<&EngineWrap::step>("step"),
       InstanceMethod<&EngineWrap::load_adapter>("loadAdapter"),
       InstanceMethod<&EngineWrap::acquire_adapter>("acquireAdapter"),
       InstanceMethod<&EngineWrap::release_adapter>("releaseAdapter"),
       InstanceMethod<&EngineWrap::unload_adapter>("unloadAdapter"),
       InstanceMethod<&EngineWrap::adapter_place>("adapterPlace"),
       InstanceMethod<&EngineWrap::stats>("stats"), InstanceMethod<&EngineWrap::profile>("profile"),
       InstanceMethod<&EngineWrap::routing>("routing"),
       InstanceMethod<&EngineWrap::routing_by_linear>("routingByLinear"),
       InstanceMethod<&EngineWrap::close>("close")});
  env.SetInstanceData(new Classes{Napi::Persistent(engine)});
}

Napi::Value EngineWrap::make(Napi::Env env, std::shared_ptr<EngineSession> session) {
  return env.GetInstanceData<Classes>()->engine.New({Session::New(env, &session)});
}

EngineWrap::EngineWrap(const Napi::CallbackInfo& call) : Napi::ObjectWrap<EngineWrap>(call) {
  if (!call[0].IsExternal()) {
    throw Napi::TypeError::New(call.Env(), "engines are made by loadEngine");
  }
  session_ = *call[0].As<Session>().Data();
  call.This().As<Napi::Object>().DefineProperty(Napi::PropertyDescriptor::Value(
      "info", smore::to_js(call.Env(), session_->engine()->info()), napi_enumerable));
}

EngineWrap::~EngineWrap() {
  if (session_) session_->shut_down();
}

Napi::Value EngineWrap::create_batch(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&]() -> Napi::Value {
    if (!call[0].IsObject()) {
      throw Error(ErrorCode::kInvalidArgument, "createBatch takes the arrays of a batch");
    }
    return Napi::Number::New(call.Env(), session_->create_batch(call[0].As<Napi::Object>()));
  });
}

Napi::Value EngineWrap::step(const Napi::CallbackInfo& call) {
  const int64_t batch = call[0].IsNumber() ? call[0].As<Napi::Number>().Int64Value() : -1;
  return session_->step(call.Env(), batch);
}

Napi::Value EngineWrap::load_adapter(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    const bool watched = !call[1].IsUndefined();
    if (!call[0].IsString() || (watched && !is_float64_array(call[1], 1))) {
      throw Error(ErrorCode::kInvalidArgument,
                  "loadAdapter takes the path of a folder and a Float64Array for its progress");
    }
    using Loaded = std::pair<int, AdapterInfo>;
    // The reference keeps the array's memory while a thread writes to it.
    Napi::ObjectReference kept;
    double* share = nullptr;
    if (watched) {
      kept = Napi::Persistent(call[1].As<Napi::Object>());
      share = call[1].As<Napi::Float64Array>().Data();
    }
    return promise_of(
        call.Env(),
        [engine = session_->engine(), folder = call[0].As<Napi::String>().Utf8Value(),
         kept = std::move(kept), share] {
          const int handle = engine->adapters().add(folder, [share](double checked) {
            if (share == nullptr) return;
            std::atomic_ref(*share).store(checked, std::memory_order_relaxed);
          });
          return Loaded(handle, engine->adapters().info(handle));
        },
        [](Napi::Env env, const Loaded& loaded) {
          return smore::to_js(env, loaded.first, loaded.second);
        });
  });
}

Napi::Value EngineWrap::acquire_adapter(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    return promise_of(
        call.Env(),
        [engine = session_->engine(), handle = handle_of(call)] {
          return engine->adapters().acquire(handle);
        },
        [](Napi::Env env, bool acquired) { return Napi::Boolean::New(env, acquired); });
  });
}

Napi::Value EngineWrap::release_adapter(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    const int handle = handle_of(call);
    Adapters& adapters = session_->engine()->adapters();
    if (!adapters.acquired(handle)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "adapter " + std::to_string(handle) + " is not acquired");
    }
    adapters.release(handle);
    return call.Env().Undefined();
  });
}

Napi::Value EngineWrap::unload_adapter(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    session_->engine()->adapters().remove(handle_of(call));
    return call.Env().Undefined();
  });
}

Napi::Value EngineWrap::adapter_place(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&]() -> Napi::Value {
    return smore::to_js(call.Env(), session_->engine()->adapters().place(handle_of(call)));
  });
}

Napi::Value EngineWrap::stats(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    if (!is_float64_array(call[0], kStatCount)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "stats takes a Float64Array of " + std::to_string(kStatCount) + " elements");
    }
    session_->engine()->stats(call[0].As<Napi::Float64Array>().Data());
    return call.Env().Undefined();
  });
}

Napi::Value EngineWrap::profile(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&] {
    const Profile* profile = session_->engine()->profile();
    if (profile == nullptr) {
      throw Error(ErrorCode::kInvalidArgument, "the engine was loaded without a profile");
    }
    constexpr int kFigures = kStageCount * kStageFigures;
    if (!is_float64_array(call[0], kFigures)) {
      throw Error(ErrorCode::kInvalidArgument,
                  "profile takes a Float64Array of " + std::to_string(kFigures) + " elements");
    }
    profile->fill(call[0].As<Napi::Float64Array>().Data());
    return call.Env().Undefined();
  });
}

Napi::Value EngineWrap::routing(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&]() -> Napi::Value {
    return to_js(call.Env(), session_->engine()->adapters().routing(handle_of(call)));
  });
}

Napi::Value EngineWrap::routing_by_linear(const Napi::CallbackInfo& call) {
  return throwing(call.Env(), [&]() -> Napi::Value {
    return to_js(call.Env(), session_->engine()->adapters().routing_by_linear(handle_of(call)));
  });
}

Napi::Value EngineWrap::close(const Napi::CallbackInfo& call) {
  return session_->close(call.Env());
}

}  // namespace smore
