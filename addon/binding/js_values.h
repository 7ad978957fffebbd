#pragma once

#include <napi.h>

#include "backends/cpu/peaks.h"
#include "engine/config.h"
#include "residual/adapters.h"
#include "residual/verify.h"

namespace smore {

// NativeConfig of src/engine/native.ts. Throws Error(kInvalidArgument) naming a field of another
// type.
EngineConfig to_engine_config(Napi::Object object);

// EngineInfo of src/engine/native.ts, frozen.
Napi::Object to_js(Napi::Env env, const EngineInfo& info);

// NativeAdapterInfo of src/engine/native.ts.
Napi::Object to_js(Napi::Env env, int handle, const AdapterInfo& info);

// NativeAdapterPlace of src/engine/native.ts.
Napi::Object to_js(Napi::Env env, const CachePlace& place);

// Peaks of src/engine/native.ts.
Napi::Object to_js(Napi::Env env, const Peaks& peaks);

// VerifyResult of src/engine/native.ts.
Napi::Object to_js(Napi::Env env, const VerifyResult& result);

}  // namespace smore
