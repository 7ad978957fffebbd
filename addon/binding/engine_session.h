#pragma once

#include <napi.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "binding/batch_view.h"
#include "engine/engine_thread.h"

namespace smore {

// One engine as the event loop sees it: promises on this side, the engine thread on the other. All
// of it belongs to the event loop's thread but `post`. It lives until the thread has ended and the
// last event was delivered; ends in any order of close, garbage collection and exit of the
// environment.
class EngineSession {
 public:
  // Called once the engine is loaded: makes the object that JavaScript gets.
  using MakeObject = Napi::Value (*)(Napi::Env, std::shared_ptr<EngineSession>);

  // A promise of make(...), rejected when loading fails.
  static Napi::Value load(Napi::Env env, EngineConfig config, Napi::Function on_progress,
                          MakeObject make);

  ~EngineSession();

  // The engine. Throws Error(kInvalidArgument) once close has begun.
  const std::shared_ptr<Engine>& engine() const;

  int create_batch(Napi::Object arrays);
  Napi::Value step(Napi::Env env, int64_t batch);
  Napi::Value close(Napi::Env env);

  // Ends the thread and waits for it, which takes as long as the steps under way.
  void shut_down();

 private:
  // What the engine thread tells the event loop: something to do there.
  using Event = std::function<void(Napi::Env)>;
  struct PendingStep {
    int64_t batch;
    Napi::Promise::Deferred deferred;
  };

  static void on_environment_exit(void* session);
  static void deliver(Napi::Env env, Napi::Function, EngineSession* session, Event* event);
  using Channel = Napi::TypedThreadSafeFunction<EngineSession, Event, deliver>;

  EngineSession(Napi::Env env, Napi::Function on_progress, MakeObject make);

  void start(EngineConfig config);
  void post(Event event);
  void on_loaded(Napi::Env env, std::shared_ptr<Engine> engine);
  void on_step_done(Napi::Env env, std::exception_ptr error, double at);
  void on_stopped(Napi::Env env);
  void hold_loop(bool hold);

  napi_env env_;
  std::shared_ptr<EngineSession> self_;  // until the channel is gone
  Channel channel_;
  std::unique_ptr<EngineThread> thread_;
  std::shared_ptr<Engine> engine_;  // null before loading and once close has begun
  MakeObject make_;
  Napi::FunctionReference on_progress_;
  std::optional<Napi::Promise::Deferred> loading_;
  std::vector<BatchView> batches_;
  std::deque<PendingStep> steps_;  // in the order of submission
  std::vector<Napi::Promise::Deferred> closing_;
  bool holds_loop_ = true;  // a new channel keeps the event loop alive
  bool stopped_ = false;
};

}  // namespace smore
