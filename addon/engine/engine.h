#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <vector>

#include "backends/backend.h"
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

  // Runs one step and fills `out`. One step at a time, always from the same thread. Throws
  // Error(kInvalidArgument), before anything is computed, when the arrays contradict each other.
  void step(const StepInput& in, const StepOutput& out);

  // From any thread, except `apply`.
  Adapters& adapters() { return *adapters_; }

  // Fills kStatCount counters. From any thread.
  void stats(double* target) const;

  // Null unless the configuration asked for it. Its figures from any thread.
  const Profile* profile() const { return profile_.get(); }

 private:
  Engine(const EngineConfig& config, ModelSource source, std::unique_ptr<Backend> backend,
         const Progress& progress);

  void prepare_slots(const StepInput& in);
  void set_statuses(const StepInput& in, const std::vector<int>& failed_adapters,
                    const StepOutput& out);
  void read_logits(const StepInput& in, const StepOutput& out);
  void pool_states(const StepInput& in, const StepOutput& out);
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
  std::vector<Slot> slots_;
  std::vector<WantedRow> wanted_;  // of the running step, without sequences that failed
  std::array<std::atomic<double>, kStatCount> counters_{};  // written by the engine thread alone
};

}  // namespace smore
