#include <doctest/doctest.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/emulated/memory.h"
#include "backends/cuda/emulated/streams.h"
#include "backends/cuda/sampling.h"
#include "core/error.h"
#include "tests/engine_cases.h"
#include "tests/refusal.h"

namespace smore {

namespace {

using namespace engine_cases;

struct Work {
  uint64_t launched;
  uint64_t bytes_to_host;
  uint64_t detours;
  uint64_t waits;
};

Work work_so_far() {
  return {cuda::emulated::launched, cuda::emulated::bytes_to_host, cuda::emulated::detours,
          cuda::emulated::waits};
}

std::vector<Sequence> texts(int count) {
  std::vector<Sequence> all;
  for (int b = 0; b < count; ++b) {
    all.push_back({.tokens = {7 + b, 9, 11},
                   .slot = b,
                   .first_page = 4 * b,
                   .seed = 5,
                   .temperature = 1,
                   .top_k = 20});
  }
  return all;
}

void go_on(std::vector<Sequence>& sequences) {
  for (Sequence& s : sequences) {
    s.context += static_cast<int32_t>(s.tokens.size());
    s.tokens = {0};
    s.flags |= kTokenFromSlot;
  }
}

// What a decoding step puts on the device before it is finished.
Work decode(Engine& engine, int count) {
  std::vector<Sequence> sequences = texts(count);
  run(engine, sequences);
  go_on(sequences);
  run(engine, sequences);
  go_on(sequences);
  HandMadeStep step(sequences, engine.info().width);
  const Work before = work_so_far();
  engine.launch(step.input(), step.output());
  const Work after = work_so_far();
  engine.finish();
  return {after.launched - before.launched, after.bytes_to_host - before.bytes_to_host,
          after.detours - before.detours, after.waits - before.waits};
}

}  // namespace

TEST_CASE("a decoding step on a device waits for nothing and brings tokens alone to the host") {
  const std::unique_ptr<Engine> engine = load(config("cuda:0"));
  const Work one = decode(*engine, 1);
  const Work four = decode(*engine, 4);
  CHECK(one.waits == 0);
  CHECK(four.waits == 0);
  CHECK(four.detours == 0);
  CHECK(one.launched == four.launched);
  // A record for each row, and statuses with what pads them.
  CHECK(four.bytes_to_host - one.bytes_to_host == 3 * sizeof(cuda::RowRead));
  CHECK(one.bytes_to_host - sizeof(cuda::RowRead) == 256);
  CHECK(four.bytes_to_host < engine->info().vocab * sizeof(float));
}

namespace {

// Whether a step of this adapter that is launched while another runs asks to settle that first.
bool settles(Engine& engine, int adapter, uint32_t flags) {
  std::vector<Sequence> before = texts(1);
  HandMadeStep first(before, engine.info().width);
  engine.launch(first.input(), first.output());
  Sequence s = texts(2)[1];
  s.adapters = {{.handle = adapter}};
  s.flags |= flags;
  const uint32_t all_layers = ~0u;
  if (flags & kRoutes) {
    for (int l = 0; l < engine.info().layers; ++l) s.route_layers.push_back(l);
    s.routes = static_cast<int32_t>(engine.adapters().routes(adapter, &all_layers));
  }
  HandMadeStep second({s}, engine.info().width);
  bool settled = false;
  engine.launch(second.input(), second.output(), [&] {
    CHECK(first.sampled[0] == -1);
    engine.finish();
    CHECK(first.sampled[0] >= 0);
    settled = true;
  });
  engine.finish();
  if (!settled) engine.finish();
  CHECK(first.sampled[0] >= 0);
  CHECK(second.sampled[0] >= 0);
  return settled;
}

}  // namespace

TEST_CASE("the step before is finished first where a step must wait for its adapters or routing") {
  EngineConfig c = config("cuda:0");
  const std::string folder = kModel + "/adapters/smore-switch";
  {
    const std::unique_ptr<Engine> engine = load(c);
    const int adapter = engine->adapters().add(folder);
    REQUIRE(engine->adapters().acquire(adapter));
    CHECK(!settles(*engine, adapter, 0));
    CHECK(settles(*engine, adapter, kRoutes));
    double stats[kStatCount] = {};
    engine->stats(stats);
    c.gpu_adapter_memory = static_cast<uint64_t>(stats[kStatDeviceBytes]) - 1;
  }
  const std::unique_ptr<Engine> engine = load(c);
  const int adapter = engine->adapters().add(folder);
  REQUIRE(engine->adapters().acquire(adapter));
  CHECK(settles(*engine, adapter, 0));
}

TEST_CASE("what adapters chose is read by one wait for each call of a layer, from pinned memory") {
  const std::unique_ptr<Engine> engine = load(config("cuda:0"));
  const int adapter = engine->adapters().add(kModel + "/adapters/smore-switch");
  REQUIRE(engine->adapters().acquire(adapter));
  const auto work_of = [&](std::vector<int> layers) {
    Sequence s = texts(1)[0];
    s.adapters = {{.handle = adapter}};
    s.flags |= kRoutes;
    uint32_t bits = 0;
    for (const int layer : layers) bits |= 1u << layer;
    s.route_layers = layers;
    s.routes = static_cast<int32_t>(engine->adapters().routes(adapter, &bits));
    const Work before = work_so_far();
    run(*engine, {s});
    const Work after = work_so_far();
    CHECK(after.detours == before.detours);
    return after.waits - before.waits;
  };
  const uint64_t one = work_of({0}), two = work_of({0, 1});
  // It adapts two linears of one input and one of another.
  CHECK(two - one == 2);
}

TEST_CASE("an engine that goes while its device computes a step waits for what is copied") {
  std::unique_ptr<Engine> engine = load(config("cuda:0"));
  HandMadeStep step(texts(2), engine->info().width);
  engine->launch(step.input(), step.output());
  CHECK_NOTHROW(engine.reset());
  CHECK(step.sampled == std::vector<int32_t>(2, -1));
}

TEST_CASE("a second GPU is used by all threads, and nothing of the first") {
  const cuda::emulated::OtherDevices two({{9, 0}, {9, 0}});
  const size_t before = cuda::emulated::taken_bytes(0);
  EngineConfig c = config("cuda:1");
  std::unique_ptr<Engine> engine;
  std::thread([&] { engine = load(c); }).join();
  int adapter = -1;
  std::thread([&] {
    adapter = engine->adapters().add(kModel + "/adapters/smore-switch");
    REQUIRE(engine->adapters().acquire(adapter));
  }).join();
  std::thread([&] {
    std::vector<Sequence> sequences = texts(2);
    sequences[0].adapters = {{.handle = adapter}};
    for (int i = 0; i < 3; ++i) {
      run(*engine, sequences);
      go_on(sequences);
    }
  }).join();
  std::thread([&] { CHECK(!engine->adapters().routing(adapter).empty()); }).join();
  std::thread([&] {
    engine->adapters().release(adapter);
    engine->adapters().remove(adapter);
  }).join();
  CHECK(cuda::emulated::taken_bytes(1) > 0);
  CHECK(cuda::emulated::taken_bytes(0) == before);
  std::thread([&] { engine.reset(); }).join();
  CHECK(cuda::emulated::taken_bytes(1) == 0);
}

TEST_CASE("what a device cannot hold is refused before any of it is taken, texts of a batch too") {
  EngineConfig c = config("cuda:0");
  c.kv_memory = uint64_t{1} << 40;
  c.max_model_len = 0;
  const cuda::emulated::RefusedAllocation refused(1);  // beside the page that is measured
  check_refused(ErrorCode::kOutOfMemory, "what is kept of texts and their logits ",
                [&] { load(c); });
  CHECK(!refused.happened());
}

TEST_CASE("no step takes memory of a device, whatever it tells of the texts before it") {
  const std::unique_ptr<Engine> engine = load(config("cuda:0"));
  const cuda::emulated::RefusedAllocation refused(0);
  const int32_t longest = engine->info().limits.history / engine->info().limits.sequences;
  for (const int32_t length : {1, 100, longest}) {
    std::vector<Sequence> sequences = texts(4);
    for (Sequence& s : sequences) {
      s.flags |= kPenalties;
      s.history.assign(static_cast<size_t>(length), 3);
      s.biases = {{5, 1.0f}, {6, -1.0f}};
    }
    const HandMadeStep step = run(*engine, sequences);
    CHECK(step.status == std::vector<int32_t>(4, 0));
    CHECK(*std::min_element(step.sampled.begin(), step.sampled.end()) >= 0);
  }
  CHECK(!refused.happened());
}

TEST_CASE("a step of a GPU that came before is one launch of a graph and nothing beside it") {
  const std::unique_ptr<Engine> engine = load(config("cuda:0"));
  std::vector<Sequence> sequences = texts(2);
  const auto graphs = [&](StatIndex index) {
    double stats[kStatCount] = {};
    engine->stats(stats);
    return static_cast<int>(stats[index]);
  };
  for (int i = 0; i < 3; ++i) {
    run(*engine, sequences);
    go_on(sequences);
  }
  const int direct = graphs(kStatGraphDirect);
  const int launches = graphs(kStatGraphLaunches);
  for (int i = 0; i < 4; ++i) {
    run(*engine, sequences);
    go_on(sequences);
  }
  CHECK(graphs(kStatGraphDirect) == direct);
  CHECK(graphs(kStatGraphLaunches) == launches + 4);
}

TEST_CASE("a step that pools states is one list of kernels too") {
  const std::unique_ptr<Engine> engine = load(config("cuda:0"));
  const auto lists = [&] {
    double stats[kStatCount] = {};
    engine->stats(stats);
    return static_cast<int>(stats[kStatGraphDirect] + stats[kStatGraphLaunches]);
  };
  for (int i = 0; i < 3; ++i) {
    run(*engine, {{.tokens = {7, 8, 9}, .flags = kPool}});
    CHECK(lists() == i + 1);
  }
}

}  // namespace smore
