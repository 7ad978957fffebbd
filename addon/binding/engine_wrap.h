#pragma once

#include <napi.h>

#include <memory>

#include "binding/engine_session.h"

namespace smore {

// NativeEngine of src/engine/native.ts: argument types on this side, everything else in the
// session.
class EngineWrap : public Napi::ObjectWrap<EngineWrap> {
 public:
  // Called once per environment.
  static void define(Napi::Env env);
  static Napi::Value make(Napi::Env env, std::shared_ptr<EngineSession> session);

  explicit EngineWrap(const Napi::CallbackInfo& call);
  ~EngineWrap() override;

 private:
  Napi::Value create_batch(const Napi::CallbackInfo& call);
  Napi::Value step(const Napi::CallbackInfo& call);
  Napi::Value load_adapter(const Napi::CallbackInfo& call);
  Napi::Value acquire_adapter(const Napi::CallbackInfo& call);
  Napi::Value release_adapter(const Napi::CallbackInfo& call);
  Napi::Value unload_adapter(const Napi::CallbackInfo& call);
  Napi::Value adapter_place(const Napi::CallbackInfo& call);
  Napi::Value profile(const Napi::CallbackInfo& call);
  Napi::Value stats(const Napi::CallbackInfo& call);
  Napi::Value routing(const Napi::CallbackInfo& call);
  Napi::Value routing_by_linear(const Napi::CallbackInfo& call);
  Napi::Value close(const Napi::CallbackInfo& call);

  std::shared_ptr<EngineSession> session_;
};

}  // namespace smore
