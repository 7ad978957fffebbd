#include "binding/promise.h"

#include <new>
#include <string>

#include "core/error.h"

namespace smore {

namespace {

Napi::Value js_error(Napi::Env env, const char* code, const std::string& message) {
  const Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", Napi::String::New(env, code));
  return error.Value();
}

}  // namespace

Napi::Value to_js_error(Napi::Env env, std::exception_ptr exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return js_error(env, error_code_name(error.code()), error.what());
  } catch (const std::bad_alloc&) {
    return js_error(env, error_code_name(ErrorCode::kOutOfMemory), "out of memory");
  } catch (const std::exception& error) {
    return js_error(env, "internal", error.what());
  }
}

}  // namespace smore
