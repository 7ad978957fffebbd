#include "binding/engine_session.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "binding/promise.h"
#include "core/error.h"

namespace smore {

namespace {

// A batch for each step that may be under way.
constexpr size_t kMaxBatches = EngineThread::kDepth;

Error closed_error() { return Error(ErrorCode::kInvalidArgument, "the engine is closed"); }

Napi::Value rejected(Napi::Env env, const Error& error) {
  const Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env);
  deferred.Reject(to_js_error(env, std::make_exception_ptr(error)));
  return deferred.Promise();
}

// On the clock of Node's process.hrtime.
double clock_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

}  // namespace

Napi::Value EngineSession::load(Napi::Env env, EngineConfig config, Napi::Function on_progress,
                                MakeObject make) {
  const std::shared_ptr<EngineSession> session(new EngineSession(env, on_progress, make));
  session->self_ = session;
  session->start(std::move(config));
  return session->loading_->Promise();
}

EngineSession::EngineSession(Napi::Env env, Napi::Function on_progress, MakeObject make)
    : env_(env),
      make_(make),
      on_progress_(Napi::Persistent(on_progress)),
      loading_(Napi::Promise::Deferred::New(env)) {}

EngineSession::~EngineSession() { shut_down(); }

void EngineSession::start(EngineConfig config) {
  const auto release_self = [](Napi::Env, void*, EngineSession* session) {
    // May be the last reference: `session` is gone after this line.
    const std::shared_ptr<EngineSession> last = std::move(session->self_);
  };
  channel_ = Channel::New(env_, "smore engine", 0, 1, this, release_self);
  // Registered after the channel, so it runs before the channel is torn down.
  napi_add_env_cleanup_hook(env_, on_environment_exit, this);
  EngineThread::Events events{
      .progress =
          [this](uint64_t done, uint64_t total, const std::string& what) {
            post([this, done, total, what](Napi::Env env) {
              on_progress_.Call({Napi::Number::New(env, static_cast<double>(done)),
                                 Napi::Number::New(env, static_cast<double>(total)),
                                 Napi::String::New(env, what)});
            });
          },
      .loaded =
          [this](std::shared_ptr<Engine> engine) {
            post([this, engine](Napi::Env env) { on_loaded(env, engine); });
          },
      .load_failed =
          [this](std::exception_ptr error) {
            post([this, error](Napi::Env env) { loading_->Reject(to_js_error(env, error)); });
          },
      .step_done =
          [this](std::exception_ptr error) {
            post([this, error, at = clock_ms()](Napi::Env env) { on_step_done(env, error, at); });
          },
      .stopped = [this] { post([this](Napi::Env env) { on_stopped(env); }); },
  };
  thread_ = std::make_unique<EngineThread>(std::move(config), std::move(events));
}

void EngineSession::on_environment_exit(void* session) {
  static_cast<EngineSession*>(session)->shut_down();
}

// On the engine thread. The channel outlives the thread, and its queue has no bound.
void EngineSession::post(Event event) {
  auto* owned = new Event(std::move(event));
  if (channel_.NonBlockingCall(owned) != napi_ok) delete owned;
}

void EngineSession::deliver(Napi::Env env, Napi::Function, EngineSession*, Event* event) {
  const std::unique_ptr<Event> owned(event);
  if (env != nullptr) (*owned)(env);  // null while the environment is torn down
}

void EngineSession::on_loaded(Napi::Env env, std::shared_ptr<Engine> engine) {
  engine_ = std::move(engine);
  on_progress_.Reset();
  hold_loop(false);
  loading_->Resolve(make_(env, self_));
}

void EngineSession::on_step_done(Napi::Env env, std::exception_ptr error, double at) {
  const Napi::Promise::Deferred deferred = steps_.front().deferred;
  steps_.pop_front();
  if (steps_.empty() && closing_.empty()) hold_loop(false);
  if (error) {
    deferred.Reject(to_js_error(env, error));
  } else {
    deferred.Resolve(Napi::Number::New(env, at));
  }
}

void EngineSession::on_stopped(Napi::Env env) {
  shut_down();
  for (const Napi::Promise::Deferred& deferred : closing_) deferred.Resolve(env.Undefined());
  closing_.clear();
}

const std::shared_ptr<Engine>& EngineSession::engine() const {
  if (!engine_) throw closed_error();
  return engine_;
}

int EngineSession::create_batch(Napi::Object arrays) {
  const StepLimits& limits = engine()->info().limits;
  if (batches_.size() == kMaxBatches) {
    throw Error(ErrorCode::kInvalidArgument,
                "an engine has at most " + std::to_string(kMaxBatches) + " batches");
  }
  batches_.emplace_back(arrays, limits);
  return static_cast<int>(batches_.size()) - 1;
}

Napi::Value EngineSession::step(Napi::Env env, int64_t batch) {
  if (!engine_) return rejected(env, closed_error());
  const auto refuse = [&](const std::string& what) {
    return rejected(env, Error(ErrorCode::kInvalidArgument, "step: " + what));
  };
  if (batch < 0 || batch >= static_cast<int64_t>(batches_.size())) {
    return refuse("there is no batch " + std::to_string(batch));
  }
  const auto same = [&](const PendingStep& step) { return step.batch == batch; };
  if (std::any_of(steps_.begin(), steps_.end(), same)) {
    return refuse("batch " + std::to_string(batch) + " is under way");
  }
  hold_loop(true);
  steps_.push_back({batch, Napi::Promise::Deferred::New(env)});
  thread_->submit(batches_[batch].input(), batches_[batch].output());
  return steps_.back().deferred.Promise();
}

Napi::Value EngineSession::close(Napi::Env env) {
  closing_.push_back(Napi::Promise::Deferred::New(env));
  const Napi::Promise promise = closing_.back().Promise();
  engine_.reset();
  if (stopped_) {
    on_stopped(env);
  } else {
    hold_loop(true);
    thread_->stop();
  }
  return promise;
}

void EngineSession::shut_down() {
  if (stopped_) return;
  stopped_ = true;
  thread_.reset();
  engine_.reset();
  napi_remove_env_cleanup_hook(env_, on_environment_exit, this);
  channel_.Release();
}

// Whether the event loop must stay alive for this engine: only while it owes an answer.
void EngineSession::hold_loop(bool hold) {
  if (hold == holds_loop_) return;
  holds_loop_ = hold;
  if (hold) {
    channel_.Ref(env_);
  } else {
    channel_.Unref(env_);
  }
}

}  // namespace smore
