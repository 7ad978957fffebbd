#pragma once

#include <napi.h>

#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace smore {

// The JavaScript error of a C++ exception; smore::Error's code becomes `code`.
Napi::Value to_js_error(Napi::Env env, std::exception_ptr exception);

// Runs a synchronous callback's body; a C++ exception becomes a thrown JavaScript error with
// `code`.
template <class Body>
Napi::Value throwing(Napi::Env env, Body&& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw Napi::Error(env, to_js_error(env, std::current_exception()));
  }
}

template <class Result, class Work, class Convert>
class PromiseWorker : public Napi::AsyncWorker {
 public:
  PromiseWorker(Napi::Env env, Work work, Convert convert)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        convert_(std::move(convert)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      result_.emplace(work_());
    } catch (...) {
      error_ = std::current_exception();
    }
  }

  void OnOK() override {
    if (error_) {
      deferred_.Reject(to_js_error(Env(), error_));
    } else {
      deferred_.Resolve(convert_(Env(), *result_));
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  Work work_;
  Convert convert_;
  std::optional<Result> result_;
  std::exception_ptr error_;
};

// A promise of convert(env, work()): work runs on one of libuv's threads and may throw, convert
// runs on the event loop. What work captures must own what it uses.
template <class Work, class Convert>
Napi::Value promise_of(Napi::Env env, Work work, Convert convert) {
  using Result = decltype(work());
  auto* worker = new PromiseWorker<Result, Work, Convert>(env, std::move(work), std::move(convert));
  const Napi::Promise promise = worker->promise();
  worker->Queue();  // deletes itself when it is done
  return promise;
}

}  // namespace smore
