#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tests/engine_harness.h"

// What the tests of engines share: a small model, and every device that can run it.

namespace smore::engine_cases {

inline const std::string kModel = SMORE_FIXTURES "/tiny-llama-smore/tied";

inline EngineConfig config(const std::string& device = "cpu") {
  return {.model_path = kModel + "/model",
          .device = device,
          .threads = 2,
          .max_model_len = 128,
          .max_batch = 4,
          .max_batch_tokens = 64,
          .kv_memory = 8 << 20,
          .adapter_memory = 8 << 20,
          .gpu_adapter_memory = 8 << 20,
          .max_loaded_adapters = 4,
          .activations = ActivationType::kFloat32};
}

inline std::unique_ptr<Engine> load(const EngineConfig& config) {
  return Engine::load(config, [](uint64_t, uint64_t, const std::string&) {});
}

inline HandMadeStep run(Engine& engine, const std::vector<Sequence>& sequences) {
  HandMadeStep step(sequences, engine.info().width);
  const StepInput input = step.input();
  engine.step(input, step.output());
  return step;
}

inline std::vector<std::string> devices() {
  if (cuda_devices().usable.empty()) return {"cpu"};
  return {"cpu", "cuda:0"};
}

}  // namespace smore::engine_cases
