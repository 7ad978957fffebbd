#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "backends/readout.h"
#include "engine/config.h"
#include "engine/profile.h"
#include "engine/step.h"
#include "engine/step_adapters.h"
#include "engine/step_check.h"
#include "engine/step_rows.h"
#include "model/llama.h"
#include "model/weights.h"
#include "residual/adapters.h"

namespace smore {

// A loaded base model with its KV pool, its adapters and the sequences' slots.
class Engine {
 public:
  // Opens, checks and packs the model. Throws Error; nothing is left behind when it does, also when
  // `progress` throws to give up.
  static std::unique_ptr<Engine> load(const EngineConfig& config, const Progress& progress);

  const EngineInfo& info() const { return info_; }

  // Begins a step, whose arrays stay as they are until it is finished. Where a device computes it
  // goes on after the call has returned. Throws Error(kInvalidArgument), before anything is
  // computed, when the arrays contradict each other; a step that threw is not finished. At most
  // kStepsAhead are begun and not finished; always from the same thread. Where the host has to wait
  // within the step, `settle` is called before that: results of the step before come sooner than
  // this call ends, and whoever waits for them calls finish() there.
  void launch(
      const StepInput& in, const StepOutput& out, const std::function<void()>& settle = [] {});

  // Whether finish() would not have to wait. Requires: a step to finish.
  bool done() { return readout_->done(); }
  // Sleeps until then. From any thread, as long as nobody calls finish().
  void wait() { readout_->wait(); }

  // Fills the outputs of the oldest step that was begun. Throws Error(kDevice) when it failed.
  void finish();

  void step(const StepInput& in, const StepOutput& out) {
    launch(in, out);
    finish();
  }

  // From any thread, except `apply`.
  Adapters& adapters() { return *adapters_; }

  // Fills kStatCount counters. From any thread.
  void stats(double* target) const;

  // Null unless the configuration asked for it. Its figures from any thread.
  const Profile* profile() const { return profile_.get(); }

 private:
  Engine(const EngineConfig& config, ModelSource source, std::unique_ptr<Backend> backend,
         const Progress& progress);

  // What counters are told of a step.
  struct Launched {
    double begun = 0;  // clock_seconds()
    double base_passes = 0;
    int rows = 0;
    int wanted_rows = 0;
    int adapter_rows = 0;
  };

  void fail_sequences(const StepInput& in, const std::vector<int>& failed_adapters);
  void read_logits();
  void pool_states(const StepInput& in);
  template <class Work>
  void profiled(Stage rest, Work&& work);
  void count(StatIndex index, double amount);

  std::unique_ptr<Backend> backend_;
  ModelConfig model_;
  ModelWeights weights_;
  std::unique_ptr<Profile> profile_;           // null = off
  std::unique_ptr<ProfiledBackend> profiled_;  // likewise; what the graph runs on
  std::unique_ptr<RotaryTable> rotary_;
  std::unique_ptr<KvCache> kv_;
  std::unique_ptr<Adapters> adapters_;
  std::unique_ptr<Llama> llama_;
  EngineInfo info_;
  std::unique_ptr<StepCheck> check_;
  std::unique_ptr<StepRows> rows_;
  StepAdapters step_adapters_;
  std::unique_ptr<Readout> readout_;
  std::vector<int32_t> failed_;     // sequences of the step that is launched
  std::vector<PooledRows> pooled_;  // likewise
  std::deque<Launched> launched_;   // and not finished
  double finished_at_ = 0;          // the last step
  std::array<std::atomic<double>, kStatCount> counters_{};  // written by the engine thread alone
};

}  // namespace smore
