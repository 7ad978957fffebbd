#include "engine/engine.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/engine_cases.h"
#include "tests/golden_file.h"
#include "tests/refusal.h"

namespace smore {

namespace {

using namespace engine_cases;

void check_prompt_logprobs(Engine& engine) {
  const GoldenFile golden(kModel + "/golden.safetensors");
  const std::vector<int32_t> prompt = golden.ints("p0.prompt");
  const std::vector<float> logits = golden.floats("p0.base.logits");
  const size_t vocab = engine.info().vocab;
  std::vector<int32_t> next(prompt.begin() + 1, prompt.end());
  const HandMadeStep step = run(engine, {{.tokens = prompt,
                                          .next_tokens = next,
                                          .flags = kSample | kLogprobs | kPromptLogprobs,
                                          .top_logprobs = 3}});
  for (size_t t = 0; t + 1 < prompt.size(); ++t) {
    double total = 0;
    for (size_t v = 0; v < vocab; ++v) total += std::exp(double{logits[t * vocab + v]});
    const double want = logits[t * vocab + next[t]] - std::log(total);
    CHECK(step.row_logprob[t] == doctest::Approx(want).epsilon(1e-3));
    CHECK(step.row_top_logprobs[t * kMaxTopLogprobs] >= step.row_logprob[t]);
  }
  CHECK(step.sampled[0] == golden.ints("p0.base.greedy_tokens")[0]);
  CHECK(step.top_tokens[0] == step.sampled[0]);
  CHECK(step.top_logprobs_out[0] == step.sampled_logprob[0]);
  CHECK(step.top_tokens[3] == -1);  // no more than asked
}

const std::vector<int32_t> kPrompt = {204, 274, 36, 252, 235};

}  // namespace

TEST_CASE("log probabilities of a prompt are those of its logits, row by row, on every device") {
  for (const std::string& device : devices()) {
    CAPTURE(device);
    EngineConfig c = config();
    c.device = device;
    check_prompt_logprobs(*load(c));
  }
}

TEST_CASE("a step that samples nothing fills the pages that the next one reads, on every device") {
  for (const std::string& device : devices()) {
    CAPTURE(device);
    EngineConfig c = config();
    c.device = device;
    const std::unique_ptr<Engine> engine = load(c);
    const int32_t want = run(*engine, {{.tokens = kPrompt}}).sampled[0];
    const std::vector<int32_t> head(kPrompt.begin(), kPrompt.end() - 1);
    const HandMadeStep first = run(*engine, {{.tokens = head, .flags = 0, .first_page = 5}});
    CHECK(first.sampled[0] == -1);
    const HandMadeStep last = run(*engine, {{.tokens = {kPrompt.back()},
                                             .context = static_cast<int32_t>(head.size()),
                                             .first_page = 5}});
    CHECK(last.sampled[0] == want);
  }
}

TEST_CASE("decoding on a GPU is launches of a few graphs, whatever the contexts grow to") {
  if (cuda_devices().usable.empty()) return;
  constexpr int kSteps = 48;
  std::vector<std::vector<int32_t>> sampled;
  for (const std::string& device : devices()) {
    EngineConfig c = config();
    c.device = device;
    const std::unique_ptr<Engine> engine = load(c);
    std::vector<Sequence> streams;
    for (int b = 0; b < 3; ++b) {
      std::vector<int32_t> tokens = kPrompt;
      tokens[0] += b;
      streams.push_back({.tokens = tokens, .slot = b, .first_page = 8 * b});
    }
    sampled.push_back(run(*engine, streams).sampled);
    for (int i = 0; i < kSteps; ++i) {
      for (Sequence& stream : streams) {
        stream.context += static_cast<int32_t>(stream.tokens.size());
        stream.tokens = {0};
        stream.flags = kSample | kTokenFromSlot;
        stream.sample_index += 1;
      }
      sampled.push_back(run(*engine, streams).sampled);
    }
    if (device == "cpu") continue;
    double stats[kStatCount] = {};
    engine->stats(stats);
    CHECK(stats[kStatGraphLaunches] >= kSteps - 2);
    CHECK(stats[kStatGraphCaptures] <= 2);
    CHECK(stats[kStatGraphUpdates] == 0);
  }
  CHECK(std::equal(sampled.begin(), sampled.begin() + kSteps + 1, sampled.begin() + kSteps + 1));
}

TEST_CASE("a GPU tells its name, and refuses what it cannot hold with what to lower") {
  if (cuda_devices().usable.empty()) return;
  EngineConfig c = config();
  c.device = "cuda:0";
  const std::unique_ptr<Engine> engine = load(c);
  CHECK(engine->info().device == "cuda:0");
  CHECK(engine->info().kernel_path.starts_with("cuda-sm"));
  CHECK(engine->info().kernel_path.ends_with("-fp32"));
  c.kv_memory = uint64_t{1} << 60;
  c.max_model_len = 0;
  check_refused(ErrorCode::kOutOfMemory, "in memory of cuda:0: weights ", [&] { load(c); });
  check_refused(ErrorCode::kOutOfMemory, "(--max-batch) and activations with the ops' ",
                [&] { load(c); });
  c = config();
  c.device = "cuda:99";
  check_refused(ErrorCode::kDevice, "cuda:99 cannot be used: the GPUs that can are cuda:0",
                [&] { load(c); });
  c.device = "gpu";
  check_refused(ErrorCode::kInvalidArgument, "devices are cpu, auto or cuda:0", [&] { load(c); });
  c.device = "cuda:0";
  c.activations = ActivationType::kInt8;
  check_refused(ErrorCode::kUnsupported, "not int8", [&] { load(c); });
}

TEST_CASE("auto is the GPU where there is one, and the CPU where a kernel path is asked for") {
  EngineConfig c = config();
  c.device = "auto";
  CHECK(load(c)->info().device == (cuda_devices().usable.empty() ? "cpu" : "cuda:0"));
  c.kernel_path = "generic";
  CHECK(load(c)->info().device == "cpu");
}

TEST_CASE("the memory that shares are of is the device's that will be taken") {
  CHECK(device_memory("cpu", {}) == std::nullopt);
  CHECK(device_memory("auto", {.path = "generic"}) == std::nullopt);
  if (cuda_devices().usable.empty()) return;
  CHECK(device_memory("auto", {}) == device_memory("cuda:0", {}));
  CHECK(device_memory("cuda:0", {}).value() > (uint64_t{1} << 30));
}

TEST_CASE("seed and index alone decide a draw, whatever slot, batch and pages it runs in") {
  const std::unique_ptr<Engine> engine = load(config());
  const Sequence drawn = {
      .tokens = kPrompt, .sample_index = 3, .seed = uint64_t{7} << 40, .temperature = 1.5f};
  const int32_t want = run(*engine, {drawn}).sampled[0];
  Sequence moved = drawn;
  moved.slot = 5;
  moved.first_page = 9;
  const HandMadeStep step =
      run(*engine, {{.tokens = {1, 2, 3}, .slot = 1, .first_page = 3}, moved});
  CHECK(step.sampled[1] == want);
  bool differs = false;
  for (int32_t index = 4; index < 12; ++index) {
    moved.sample_index = index;
    differs = differs || run(*engine, {moved}).sampled[0] != want;
  }
  CHECK(differs);
}

TEST_CASE("penalties follow the tokens that the slot has sampled and those it was given") {
  const std::unique_ptr<Engine> engine = load(config());
  Sequence s = {.tokens = kPrompt, .flags = kSample | kPenalties, .presence = 50};
  std::vector<int32_t> seen;
  for (int k = 0; k < 20; ++k) {
    const int32_t token = run(*engine, {s}).sampled[0];
    CHECK(std::find(seen.begin(), seen.end(), token) == seen.end());
    seen.push_back(token);
    s.context += static_cast<int>(s.tokens.size());
    s.tokens = {0};
    s.flags |= kTokenFromSlot;
  }
  // Another slot that is told the same history goes on the same way.
  Sequence restored = {.tokens = kPrompt,
                       .slot = 1,
                       .flags = kSample | kPenalties,
                       .first_page = 16,
                       .presence = 50};
  restored.tokens.insert(restored.tokens.end(), seen.begin(), seen.end());
  restored.history = restored.tokens;
  restored.history_prompt = static_cast<int32_t>(kPrompt.size());
  CHECK(run(*engine, {restored}).sampled[0] == run(*engine, {s}).sampled[0]);
}

TEST_CASE("a bias forbids and forces tokens, and leaves the reported probabilities alone") {
  const std::unique_ptr<Engine> engine = load(config());
  const HandMadeStep plain =
      run(*engine, {{.tokens = kPrompt, .flags = kSample | kLogprobs, .top_logprobs = 2}});
  const int32_t best = plain.sampled[0];
  const HandMadeStep step =
      run(*engine, {{.tokens = kPrompt, .biases = {{best, -100}}, .flags = kSample | kLogprobs},
                    {.tokens = kPrompt, .biases = {{17, 100}}, .slot = 1, .first_page = 4}});
  CHECK(step.sampled[0] == plain.top_tokens[1]);
  CHECK(step.sampled_logprob[0] == plain.top_logprobs_out[1]);
  CHECK(step.sampled[1] == 17);
}

TEST_CASE("rows of the base and of mixed adapters share a step, each with the bits it has alone") {
  const std::unique_ptr<Engine> engine = load(config());
  Adapters& adapters = engine->adapters();
  const int tree = adapters.add(kModel + "/adapters/smore-switch");
  const int lora = adapters.add(kModel + "/adapters/lora");
  REQUIRE(adapters.acquire(tree));
  REQUIRE(adapters.acquire(lora));
  const std::vector<std::vector<Member>> mixes = {{},
                                                  {{.handle = tree}},
                                                  {{.handle = tree}, {.handle = lora, .scale = 0}},
                                                  {{.handle = tree}, {.handle = lora, .scale = 3}}};
  std::vector<Sequence> together;
  std::vector<float> alone;
  for (const std::vector<Member>& mix : mixes) {
    const auto slot = static_cast<int32_t>(together.size());
    Sequence s = {.tokens = kPrompt, .slot = slot, .flags = kSample | kLogprobs, .adapters = mix};
    alone.push_back(run(*engine, {s}).sampled_logprob[0]);
    s.first_page = slot;
    together.push_back(s);
  }
  double before[kStatCount];
  double after[kStatCount];
  engine->stats(before);
  const HandMadeStep step = run(*engine, together);
  engine->stats(after);
  CHECK(step.sampled_logprob == alone);
  CHECK(alone[1] != alone[0]);
  CHECK(alone[2] == alone[1]);
  CHECK(alone[3] != alone[1]);
  CHECK(after[kStatBasePasses] - before[kStatBasePasses] == 1);
  CHECK(after[kStatAdapterRows] - before[kStatAdapterRows] == 15);
}

TEST_CASE("routing is that of the row that sampled, whatever the step computes beside it") {
  const std::unique_ptr<Engine> engine = load(config());
  Adapters& adapters = engine->adapters();
  const int tree = adapters.add(kModel + "/adapters/smore-switch");
  REQUIRE(adapters.acquire(tree));
  const int last = engine->info().layers - 1;
  const uint32_t layers = 1u | 1u << last;
  Sequence whole = {.tokens = kPrompt,
                    .flags = kSample | kRoutes,
                    .adapters = {{.handle = tree}},
                    .route_layers = {0, last},
                    .routes = static_cast<int32_t>(adapters.routes(tree, &layers))};
  const HandMadeStep once = run(*engine, {{.tokens = {9, 8}, .slot = 1, .first_page = 3}, whole});
  Sequence first = {.tokens = {kPrompt.begin(), kPrompt.end() - 1},
                    .slot = 2,
                    .flags = 0,
                    .adapters = whole.adapters,
                    .first_page = 5};
  run(*engine, {first});
  Sequence rest = whole;
  rest.tokens = {kPrompt.back()};
  rest.slot = 2;
  rest.context = static_cast<int32_t>(kPrompt.size()) - 1;
  rest.first_page = 5;
  const HandMadeStep twice = run(*engine, {rest});
  CHECK(once.route_expert == twice.route_expert);
  CHECK(once.route_score == twice.route_score);

  // Where all others are banned, these are chosen. The fixture adapts three linears of each layer.
  const AdapterInfo info = adapters.info(tree);
  REQUIRE(info.tree.size() == 2);
  const auto [experts, active] = info.tree[1];
  for (int e = 0; e < experts - active; ++e) whole.adapters[0].bans.push_back({1, e});
  const HandMadeStep forced = run(*engine, {whole});
  const size_t per_linear = forced.route_expert.size() / 6;
  REQUIRE(per_linear == static_cast<size_t>(active + active * info.tree[0].active));
  for (int linear = 1; linear <= 6; ++linear) {
    for (int j = 1; j <= active; ++j) {
      CHECK(forced.route_expert[linear * per_linear - j] >= experts - active);
    }
  }
}

TEST_CASE("an engine counts its work") {
  const std::unique_ptr<Engine> engine = load(config());
  run(*engine, {{.tokens = kPrompt}, {.tokens = {1}, .slot = 1, .flags = 0, .first_page = 4}});
  double stats[kStatCount];
  engine->stats(stats);
  CHECK(stats[kStatSteps] == 1);
  CHECK(stats[kStatBasePasses] == 1);
  CHECK(stats[kStatRows] == 6);
  CHECK(stats[kStatSampledRows] == 1);
  CHECK(stats[kStatAdapterRows] == 0);
  CHECK(stats[kStatKvBytes] > 0);
  CHECK(stats[kStatKvBytes] <= 8 << 20);
  CHECK(stats[kStatWeightBytes] > 0);
}

TEST_CASE("a model that does not fit is refused with every part of what it needs") {
  EngineConfig c = config();
  c.adapter_memory = uint64_t{1} << 60;
  check_refused(ErrorCode::kOutOfMemory, "(--kv-memory), adapters ", [&] { load(c); });
  check_refused(ErrorCode::kOutOfMemory, "(--adapter-memory) and activations ", [&] { load(c); });
}

TEST_CASE("the longest sequence is what the model, the option and the pages allow") {
  EngineConfig c = config();
  const uint64_t page_bytes = load(c)->info().page_bytes;
  c.max_model_len = 0;
  c.kv_memory = 3 * page_bytes + 1;
  CHECK(load(c)->info().max_model_len == 3 * kPageTokens);
  c.max_model_len = 3 * kPageTokens;
  CHECK(load(c)->info().kv_pages == 3);
  c.max_model_len += 1;
  check_refused(ErrorCode::kOutOfMemory, "raise --kv-memory", [&] { load(c); });
  c.kv_memory = 0;
  c.max_model_len = 0;
  check_refused(ErrorCode::kOutOfMemory, "holds 0 tokens", [&] { load(c); });
}

TEST_CASE("a load that its progress gives up leaves nothing behind") {
  check_refused(ErrorCode::kInvalidArgument, "enough", [] {
    Engine::load(config(), [](uint64_t, uint64_t, const std::string&) {
      throw Error(ErrorCode::kInvalidArgument, "enough");
    });
  });
}

TEST_CASE("pooled states are the mean over a prompt's positions, bit for bit in any chunks") {
  const std::unique_ptr<Engine> engine = load(config());
  const int width = engine->info().width;
  std::vector<int32_t> prompt;
  for (int i = 0; i < 40; ++i) prompt.push_back((i * 37 + 11) % engine->info().vocab);
  const auto pooled = [&](int first_chunk, bool beside_another) {
    const auto part = [&](int begin, int end) {
      return Sequence{.tokens = {prompt.begin() + begin, prompt.begin() + end},
                      .flags = kPool,
                      .context = begin};
    };
    const Sequence other = {.tokens = kPrompt, .slot = 1, .first_page = 4};
    std::vector<Sequence> step = {part(0, first_chunk)};
    if (beside_another) step.insert(step.begin(), other);
    HandMadeStep made = run(*engine, step);
    if (first_chunk < 40) made = run(*engine, {part(first_chunk, 40)});
    const auto own = made.pooled.end() - width;
    return std::vector<float>(own, made.pooled.end());
  };
  const std::vector<float> whole = pooled(40, false);
  for (const int first_chunk : {1, 16, 23, 39}) CHECK(pooled(first_chunk, false) == whole);
  CHECK(pooled(40, true) == whole);
  CHECK(pooled(7, true) == whole);
}

TEST_CASE("pooled states are what the output layer reads: they give the mean of the logits") {
  const std::unique_ptr<Engine> engine = load(config());
  const GoldenFile golden(kModel + "/golden.safetensors");
  const GoldenFile weights(kModel + "/model/model.safetensors");
  const std::vector<int32_t> prompt = golden.ints("p0.prompt");
  const std::vector<float> logits = golden.floats("p0.base.logits");
  const std::vector<float> output = weights.floats("model.embed_tokens.weight");  // V D, tied
  const size_t vocab = engine->info().vocab;
  const size_t width = engine->info().width;
  const HandMadeStep step = run(*engine, {{.tokens = prompt, .flags = kPool}});
  for (size_t v = 0; v < vocab; ++v) {
    double mean = 0;
    for (size_t t = 0; t < prompt.size(); ++t) mean += logits[t * vocab + v];
    double got = 0;
    for (size_t i = 0; i < width; ++i) got += double{output[v * width + i]} * step.pooled[i];
    CHECK(got == doctest::Approx(mean / static_cast<double>(prompt.size())).epsilon(1e-3));
  }
}

TEST_CASE("pooling that does not begin at the start of its sequence is refused") {
  const std::unique_ptr<Engine> engine = load(config());
  run(*engine, {{.tokens = kPrompt}});
  CHECK_THROWS_WITH_AS(run(*engine, {{.tokens = {1}, .flags = kPool, .context = 5}}),
                       "step: slot 0 of sequence 0 has pooled nothing to continue from", Error);
}

}  // namespace smore
