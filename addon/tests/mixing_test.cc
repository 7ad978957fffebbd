// Several adapters on one row, each with its own scale and router control, and routing read out.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "engine/step_adapters.h"
#include "residual/adapters.h"
#include "residual/reference.h"
#include "tests/adapter_backends.h"
#include "tests/engine_harness.h"
#include "tests/random_adapter.h"
#include "tests/refusal.h"

namespace smore {
namespace {

constexpr int kInputs = 37;
constexpr int kOutputs = 45;
constexpr int kTrees = 3;
constexpr int kLora = kTrees + 1;  // its handle
constexpr const char* kUp = "model.layers.0.mlp.up_proj";

ModelConfig one_layer() {
  ModelConfig base;
  base.layers = 1;
  base.width = kInputs;
  base.ffn_width = kOutputs;
  base.heads = 2;
  base.kv_heads = 1;
  base.head_dim = 9;
  return base;
}

// A row of a step: a sequence of its own with the adapters that it goes through.
struct Row {
  std::vector<Member> members;
  std::vector<float> x;
  bool probed = false;
};

struct Result {
  std::vector<std::vector<float>> y;  // per row
  std::vector<std::vector<int32_t>> experts;
  std::vector<std::vector<float>> scores;
};

// Three random trees (handles 1 to 3) and a LoRA (4) on one linear, and rows that mix them.
class Scene {
 public:
  explicit Scene(uint32_t seed, DType dtype = DType::kF32) : maker_(seed) {
    for (int i = 0; i < kTrees; ++i) {
      trees_.push_back(maker_.tree(kInputs, kOutputs));
      write_tree(folder_ / std::to_string(i), kUp, trees_.back(), dtype);
    }
    const std::string prefix = std::string("base_model.model.") + kUp + ".lora_";
    lora_a_ = maker_.tensor({5, kInputs}, 0.2);
    lora_b_ = maker_.tensor({kOutputs, 5}, 0.2);
    round_to(dtype, lora_a_);
    round_to(dtype, lora_b_);
    write_adapter(
        folder_ / "lora",
        R"({"peft_type": "LORA", "r": 5, "lora_alpha": 10, "target_modules": ["up_proj"]})",
        {{prefix + "A.weight", lora_a_}, {prefix + "B.weight", lora_b_}}, dtype);
  }

  void load(Adapters& adapters) const {
    for (int i = 0; i < kTrees; ++i)
      REQUIRE(adapters.acquire(adapters.add(folder_ / std::to_string(i))));
    REQUIRE(adapters.acquire(adapters.add(folder_ / "lora")));
  }

  std::vector<Row> rows(int count, bool controlled) {
    std::vector<Row> made;
    for (int i = 0; i < count; ++i) {
      Row& row = made.emplace_back();
      for (int handle = 1; handle <= kLora; ++handle) {
        if (maker_.between(0, 1) == 0) continue;
        Member member{.handle = handle};
        if (maker_.between(0, 2) > 0) member.scale = static_cast<float>(maker_.number(1));
        if (controlled && handle != kLora && maker_.between(0, 2) > 0) control(member);
        row.members.push_back(member);
      }
      for (int k = 0; k < kInputs; ++k) row.x.push_back(static_cast<float>(maker_.number(1)));
      row.probed = maker_.between(0, 1) == 1;
    }
    return made;
  }

  // Computes these rows as one step.
  Result run(Backend& backend, Adapters& adapters, const std::vector<Row>& rows) const {
    std::vector<Sequence> sequences;
    std::vector<float> x;
    for (const Row& row : rows) {
      Sequence& s = sequences.emplace_back();
      s.tokens = {1};
      s.adapters = row.members;
      if (row.probed) {
        s.flags |= kRoutes;
        s.route_layers = {0};
        for (const Member& member : row.members)
          s.routes += static_cast<int>(routes(member.handle));
      }
      x.insert(x.end(), row.x.begin(), row.x.end());
    }
    HandMadeStep step(sequences);
    StepAdapters mixed;
    AdapterRows groups;
    mixed.build(step.input(), step.output(), adapters, 1, groups);
    const std::vector<float> y =
        adapter_backends::deltas(backend, adapters, 0, Site::kUp, groups, x, kInputs, kOutputs);
    Result result;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto part = [&](const auto& all, int from, int to) {
        return std::decay_t<decltype(all)>(all.begin() + from, all.begin() + to);
      };
      result.y.push_back(
          part(y, static_cast<int>(i) * kOutputs, static_cast<int>(i + 1) * kOutputs));
      result.experts.push_back(
          part(step.route_expert, step.route_start[i], step.route_start[i + 1]));
      result.scores.push_back(part(step.route_score, step.route_start[i], step.route_start[i + 1]));
    }
    return result;
  }

  // The sum of the formulas' deltas; what the reference chose must be what was read out.
  void check_against_reference(const Row& row, const Result& got, size_t i) const {
    const std::vector<double> x(row.x.begin(), row.x.end());
    std::vector<double> want(kOutputs, 0.0);
    std::vector<int32_t> experts;
    std::vector<double> scores;
    for (const Member& member : row.members) {
      std::vector<double> delta;
      if (member.handle == kLora) {
        delta = reference::lora_delta(lora_a_, lora_b_, {}, 2, x);
      } else {
        const RandomTree& tree = trees_[member.handle - 1];
        const reference::TreeResult result =
            reference::tree_delta(tree.config, tree.tensors, x, gates(member, tree));
        delta = result.delta;
        for (const auto& ids : result.ids) experts.insert(experts.end(), ids.begin(), ids.end());
        for (const auto& of : result.scores) scores.insert(scores.end(), of.begin(), of.end());
      }
      for (int k = 0; k < kOutputs; ++k) want[k] += member.scale * delta[k];
    }
    double largest = 0;
    double worst = 0;
    for (int k = 0; k < kOutputs; ++k) {
      largest = std::max(largest, std::abs(want[k]));
      worst = std::max(worst, std::abs(want[k] - got.y[i][k]));
    }
    CHECK(worst <= 1e-4 * largest);
    if (!row.probed) return;
    CHECK(got.experts[i] == experts);
    for (size_t k = 0; k < scores.size(); ++k) {
      CHECK(got.scores[i][k] == doctest::Approx(scores[k]).epsilon(1e-3));
    }
  }

  TreeMaker& maker() { return maker_; }
  const RandomTree& tree(int handle) const { return trees_[handle - 1]; }

  // Chosen experts of one token, over the tree's levels.
  int64_t routes(int handle) const {
    if (handle == kLora) return 0;
    int64_t pairs = 1;
    int64_t sum = 0;
    for (int l = tree(handle).levels() - 1; l >= 0; --l) sum += pairs *= active(tree(handle), l);
    return sum;
  }

  static int active(const RandomTree& tree, int l) {
    return tree.config.gate_type == "dense" ? tree.experts[l] : tree.config.num_active[l];
  }

 private:
  void control(Member& member) {
    member.temperature = static_cast<float>(std::exp(maker_.number(1)));
    const RandomTree& tree = trees_[member.handle - 1];
    for (int l = 0; l < tree.levels(); ++l) {
      std::vector<int> experts(tree.experts[l]);
      std::iota(experts.begin(), experts.end(), 0);
      for (int left = tree.experts[l]; left > active(tree, l) && maker_.between(0, 2) > 0; --left) {
        const int at = maker_.between(0, left - 1);
        member.bans.push_back({l, experts[at]});
        experts.erase(experts.begin() + at);
      }
    }
  }

  static reference::Gates gates(const Member& member, const RandomTree& tree) {
    reference::Gates gates{member.temperature, {}};
    gates.banned.resize(tree.levels());
    for (const auto& [level, expert] : member.bans) gates.banned[level].push_back(expert);
    return gates;
  }

  ScratchFolder folder_;
  TreeMaker maker_;
  std::vector<RandomTree> trees_;
  reference::Tensor lora_a_, lora_b_;
};

const AdapterOptions kRoomy = adapter_backends::roomy();

}  // namespace

TEST_CASE("deltas of several adapters add up, each with its scale, on every kernel path") {
  for (const std::string& path : adapter_backends::paths()) {
    const auto backend = adapter_backends::backend(path);
    for (uint32_t seed = 1; seed <= 12; ++seed) {
      CAPTURE(path);
      CAPTURE(seed);
      Scene scene(seed, seed % 2 == 0 ? DType::kBF16 : DType::kF32);
      Adapters adapters(one_layer(), kRoomy, *backend);
      scene.load(adapters);
      const std::vector<Row> rows = scene.rows(13, false);
      const Result got = scene.run(*backend, adapters, rows);
      for (size_t i = 0; i < rows.size(); ++i) scene.check_against_reference(rows[i], got, i);
    }
  }
}

TEST_CASE("temperature and banned experts do what masked gates do, and routing is read out") {
  for (const std::string& path : adapter_backends::paths()) {
    CAPTURE(path);
    const auto backend = adapter_backends::backend(path);
    int banned = 0;
    for (uint32_t seed = 200; seed < 230; ++seed) {
      CAPTURE(seed);
      Scene scene(seed);
      Adapters adapters(one_layer(), kRoomy, *backend);
      scene.load(adapters);
      const std::vector<Row> rows = scene.rows(9, true);
      const Result got = scene.run(*backend, adapters, rows);
      for (size_t i = 0; i < rows.size(); ++i) {
        scene.check_against_reference(rows[i], got, i);
        for (const Member& member : rows[i].members) banned += static_cast<int>(member.bans.size());
      }
    }
    CHECK(banned > 50);
  }
}

TEST_CASE("a mixed row has the same bits in every batch, on any number of threads, in any memory") {
  for (const std::string& path : adapter_backends::paths()) {
    for (uint32_t seed = 300; seed < 306; ++seed) {
      CAPTURE(path);
      CAPTURE(seed);
      const ActivationType activations =
          seed % 2 == 0 ? ActivationType::kFloat32 : ActivationType::kDigits;
      const auto one = adapter_backends::backend(path, 1, activations);
      const auto three = adapter_backends::backend(path, 3, activations);
      Scene scene(seed, DType::kBF16);
      Adapters whole(one_layer(), kRoomy, *one);
      scene.load(whole);
      const std::vector<Row> rows = scene.rows(40, true);
      const Result want = scene.run(*one, whole, rows);
      // As little memory as holds the trunks and one page: experts come in waves.
      uint64_t least = 0;
      uint64_t pages = 0;
      for (int handle = 1; handle <= kLora; ++handle) {
        const AdapterInfo info = whole.info(handle);
        least += info.trunk_bytes;
        pages += info.bytes - info.trunk_bytes;
      }
      const auto on_device = static_cast<uint64_t>(adapter_backends::stat(whole, kStatDeviceBytes));
      const AdapterOptions tight{.memory_budget = least + 4096,
                                 .device_budget = on_device - std::min(on_device, pages) + 4096};
      Adapters parts(one_layer(), tight, *three);
      scene.load(parts);
      std::vector<size_t> order(rows.size());
      std::iota(order.begin(), order.end(), size_t{0});
      for (size_t first = 0; first < order.size();) {
        const int left = static_cast<int>(order.size() - first);
        std::rotate(order.begin() + first,
                    order.begin() + first + scene.maker().between(0, left - 1), order.end());
        const size_t count = scene.maker().between(1, left);
        std::vector<Row> some;
        for (size_t i = first; i < first + count; ++i) some.push_back(rows[order[i]]);
        const Result got = scene.run(*three, parts, some);
        for (size_t i = 0; i < count; ++i) {
          CHECK(std::memcmp(got.y[i].data(), want.y[order[first + i]].data(),
                            kOutputs * sizeof(float)) == 0);
          CHECK(got.experts[i] == want.experts[order[first + i]]);
        }
        first += count;
      }
    }
  }
}

TEST_CASE("scale 1 of one adapter and nothing else is what it was without scales") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  Scene scene(7);
  Adapters adapters(one_layer(), kRoomy, *backend);
  scene.load(adapters);
  std::vector<Row> rows = scene.rows(8, false);
  std::vector<float> x;
  AdapterRows plain;
  for (int handle = 1; handle <= kLora; ++handle) {
    rows[handle - 1].members = {{.handle = handle}};
    x.insert(x.end(), rows[handle - 1].x.begin(), rows[handle - 1].x.end());
    plain.groups.push_back({handle, {handle - 1}});
  }
  rows.resize(kLora);
  const std::vector<float> y =
      adapter_backends::deltas(*backend, adapters, 0, Site::kUp, plain, x, kInputs, kOutputs);
  const Result got = scene.run(*backend, adapters, rows);
  for (int i = 0; i < kLora; ++i) {
    CHECK(std::memcmp(got.y[i].data(), y.data() + i * kOutputs, kOutputs * sizeof(float)) == 0);
  }
}

TEST_CASE("sequences that an adapter changes alike share a group, one adapter's lie together") {
  const auto backend =
      make_cpu_backend({.threads = 1, .activations = ActivationType::kFloat32, .path = ""});
  const Scene scene(11);
  Adapters adapters(one_layer(), kRoomy, *backend);
  scene.load(adapters);
  const HandMadeStep step({{.tokens = {1, 2}, .adapters = {{.handle = 1}, {.handle = 2}}},
                           {.tokens = {3}, .slot = 1},
                           {.tokens = {4}, .slot = 2, .adapters = {{.handle = 2}}},
                           {.tokens = {5}, .slot = 3, .adapters = {{.handle = 1}}},
                           {.tokens = {6}, .slot = 4, .adapters = {{.handle = 1, .scale = 2}}}});
  StepAdapters mixed;
  AdapterRows rows;
  mixed.build(step.input(), {}, adapters, 1, rows);
  REQUIRE(rows.groups.size() == 4);
  const auto check = [&](int group, int handle, int turn, std::vector<int32_t> want) {
    CHECK(rows.groups[group].handle == handle);
    CHECK(rows.groups[group].turn == turn);
    CHECK(rows.groups[group].rows == want);
  };
  check(0, 1, 0, {0, 1, 4});
  check(1, 1, 0, {5});
  check(2, 2, 1, {0, 1});
  check(3, 2, 0, {3});
  CHECK(rows.groups[1].scale == 2);
  CHECK(mixed.row_count() == 5);
}

TEST_CASE("nothing of a step is left in the next, and an expert that is banned twice counts once") {
  const auto backend =
      make_cpu_backend({.threads = 1, .activations = ActivationType::kFloat32, .path = ""});
  // Leaves of which one may be banned, and no second.
  const auto spares_one = [](const Scene& scene) {
    return scene.tree(1).experts[0] == Scene::active(scene.tree(1), 0) + 1;
  };
  uint32_t seed = 11;
  while (!spares_one(Scene(seed))) ++seed;
  const Scene scene(seed);
  Adapters adapters(one_layer(), kRoomy, *backend);
  scene.load(adapters);
  StepAdapters mixed;
  AdapterRows rows;
  const auto build = [&](const std::vector<Sequence>& sequences) {
    mixed.build(HandMadeStep(sequences).input(), {}, adapters, 1, rows);
  };
  const int last = scene.tree(1).experts[0] - 1;
  const Member banning{.handle = 1, .temperature = 2, .bans = {{0, last}, {0, last}}};
  for (int round = 0; round < 3; ++round) {
    build({{.tokens = {1, 2, 3}, .adapters = {banning}}, {.tokens = {4}, .slot = 1}});
    REQUIRE(rows.groups.size() == 1);
    CHECK(rows.groups[0].rows == std::vector<int32_t>{0, 1, 2});
    REQUIRE(rows.groups[0].control != nullptr);
    CHECK(rows.groups[0].control->temperature == 2);
    CHECK(rows.groups[0].control->banned[0] == std::vector<int32_t>{last});
    // The LoRA has no routers: a ban that was left would be refused.
    build({{.tokens = {1}, .adapters = {{.handle = kLora, .temperature = 3}}},
           {.tokens = {2, 3}, .slot = 1, .adapters = {{.handle = 1}}}});
    REQUIRE(rows.groups.size() == 2);
    CHECK(rows.groups[0].handle == kLora);
    CHECK(rows.groups[0].rows == std::vector<int32_t>{0});
    CHECK(rows.groups[1].rows == std::vector<int32_t>{1, 2});
    CHECK(rows.groups[1].control == nullptr);
    CHECK(mixed.row_count() == 3);
  }
}

TEST_CASE("adapters take their turns in the order in which the sequence names them") {
  const auto backend =
      make_cpu_backend({.threads = 1, .activations = ActivationType::kFloat32, .path = ""});
  const Scene scene(13);
  Adapters adapters(one_layer(), kRoomy, *backend);
  scene.load(adapters);
  const HandMadeStep step(
      {{.tokens = {1}, .adapters = {{.handle = 2}, {.handle = 1}}}, {.tokens = {2}, .slot = 1}});
  StepAdapters mixed;
  AdapterRows rows;
  mixed.build(step.input(), {}, adapters, 1, rows);
  REQUIRE(rows.groups.size() == 2);
  CHECK(rows.groups[0].handle == 2);
  CHECK(rows.groups[0].turn == 0);
  CHECK(rows.groups[1].handle == 1);
  CHECK(rows.groups[1].turn == 1);
}

TEST_CASE("a step that asks of an adapter what it cannot do is refused") {
  const auto backend =
      make_cpu_backend({.threads = 1, .activations = ActivationType::kFloat32, .path = ""});
  const Scene scene(12);
  Adapters adapters(one_layer(), kRoomy, *backend);
  scene.load(adapters);
  const auto refused = [&](const std::string& part, const Sequence& sequence) {
    HandMadeStep step({sequence});
    StepAdapters mixed;
    AdapterRows rows;
    check_refused(ErrorCode::kInvalidArgument, part,
                  [&] { mixed.build(step.input(), step.output(), adapters, 1, rows); });
  };
  const int levels = scene.tree(1).levels();
  const int experts = scene.tree(1).experts[0];
  std::vector<std::pair<int32_t, int32_t>> all;
  for (int e = 0; e < experts; ++e) all.push_back({0, e});
  refused("adapter 9 is not acquired", {.tokens = {1}, .adapters = {{.handle = 9}}});
  refused("others are banned",
          {.tokens = {1}, .adapters = {{.handle = 1, .bans = {{0, experts}}}}});
  refused("others are banned", {.tokens = {1}, .adapters = {{.handle = 1, .bans = {{0, -1}}}}});
  refused("fewer are left", {.tokens = {1}, .adapters = {{.handle = 1, .bans = all}}});
  refused("levels of routers", {.tokens = {1}, .adapters = {{.handle = 1, .bans = {{levels, 0}}}}});
  refused("has 0 levels of routers",
          {.tokens = {1}, .adapters = {{.handle = kLora, .bans = {{0, 0}}}}});
  refused("pairs, it has room for 1", {.tokens = {1},
                                       .flags = kSample | kRoutes,
                                       .adapters = {{.handle = 1}},
                                       .route_layers = {0},
                                       .routes = 1 + static_cast<int>(scene.routes(1) == 1)});
}

}  // namespace smore
