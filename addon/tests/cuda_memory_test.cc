#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "tests/engine_cases.h"
#include "tests/kernel_cases.h"

// What an engine takes of a device's memory: all of it at load, as much as it says.

namespace smore {
namespace {

using namespace engine_cases;

const std::string kFolder = kModel + "/adapters/smore-switch";

// A text for each of these adapters, of so many rows.
std::vector<Sequence> texts(const std::vector<int>& handles, int rows, int context) {
  std::vector<Sequence> all;
  for (const int handle : handles) {
    const auto b = static_cast<int>(all.size());
    all.push_back({.tokens = std::vector<int32_t>(rows, 7 + b),
                   .slot = b,
                   .adapters = {{.handle = handle}},
                   .context = context,
                   .first_page = b});
  }
  return all;
}

}  // namespace

TEST_CASE("steps with adapters take no memory of a device that was not taken at load") {
  EngineConfig c = config("cuda:0");
  c.max_batch = c.max_loaded_adapters = 64;
  c.max_batch_tokens = 256;
  c.adapter_memory = c.gpu_adapter_memory = 64 << 20;
  const std::unique_ptr<Engine> engine = load(c);
  std::vector<int> handles;
  for (int i = 0; i < 64; ++i) {
    handles.push_back(engine->adapters().add(kFolder));
    REQUIRE(engine->adapters().acquire(handles.back()));
  }
  const cuda::emulated::RefusedAllocation refusal(0);
  for (const int rows : {4, 1, 1}) {
    const HandMadeStep step = run(*engine, texts(handles, rows, rows == 4 ? 0 : 4));
    CHECK(step.status == std::vector<int32_t>(64, 0));
  }
  CHECK_FALSE(refusal.happened());
}

TEST_CASE("ops and adapters take as much scratch memory of a device as was said before") {
  ModelConfig model;
  model.layers = 32;
  model.width = 4096;
  model.ffn_width = 14336;
  model.heads = 32;
  model.kv_heads = 8;
  model.head_dim = 128;
  for (const bool adapters : {false, true}) {
    for (const int rows : {1, 300, 8192}) {
      CAPTURE(adapters);
      CAPTURE(rows);
      const StepSizes sizes{
          .rows = rows, .sequences = std::min(rows, 64), .positions = 4096, .adapters = adapters};
      const auto backend = kernel_cases::backend(kernel_cases::kCuda, ActivationType::kDigits);
      const uint64_t before = backend->free_memory().value();
      backend->reserve(model, sizes);
      const uint64_t taken = before - backend->free_memory().value();
      const uint64_t said = backend->scratch_bytes(model, sizes);
      CHECK(taken >= said);
      CHECK(taken <= said + 2048);  // what the emulator puts between pieces
      if (adapters) CHECK(said >= uint64_t{32} << 20);
    }
  }
}

}  // namespace smore
