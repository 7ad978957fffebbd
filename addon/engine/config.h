#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "engine/step.h"
#include "model/quantize.h"
#include "residual/adapters.h"

namespace smore {

// What Engine::load is told: validated numbers and paths. Budgets are bytes.
struct EngineConfig {
  std::string model_path;
  std::string device = "cpu";  // make_backend()
  int threads = 1;
  int max_model_len = 0;     // positions of one sequence; 0 = the model's own, as far as pages go
  int max_batch = 0;         // sequences in a step
  int max_batch_tokens = 0;  // rows in a step
  uint64_t kv_memory = 0;
  uint64_t adapter_memory = 0;
  uint64_t gpu_adapter_memory = 0;  // of a device that has memory of its own
  GpuProducts products = GpuProducts::kInvariant;
  std::string cublaslt{};  // BackendOptions
  int max_loaded_adapters = 0;
  ActivationType activations = ActivationType::kDigits;
  ExpertType experts = ExpertType::kStored;
  Quantize quantize = Quantize::kNone;
  bool profile = false;       // measure what each stage of the steps takes
  std::string kernel_path{};  // empty = the machine's best
};

// What the engine tells once it is loaded; never changes.
struct EngineInfo {
  std::string family;
  int layers = 0;
  int width = 0;
  int vocab = 0;
  int max_model_len = 0;
  std::vector<int32_t> stop_tokens;
  std::string device;  // "cpu" or "cuda:0", ...
  std::string kernel_path;
  int threads = 0;
  int kv_pages = 0;
  uint64_t page_bytes = 0;
  int64_t parameters = 0;
  uint64_t weight_bytes = 0;
  StepLimits limits{};
  int slots = 0;  // 2 x limits.sequences
};

}  // namespace smore
