#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "residual/adapters.h"
#include "residual/reference.h"
#include "tests/adapter_backends.h"
#include "tests/random_adapter.h"

namespace smore {
namespace {

constexpr int kInputs = 37;
constexpr int kOutputs = 45;
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

// Adapters with random trees on one linear, rows of all of them and of none in one step, and what
// each row must get.
class Scene {
 public:
  Scene(uint32_t seed, int trees, int rows, DType dtype, bool as_bf16) : maker_(seed) {
    for (int i = 0; i < trees; ++i) {
      trees_.push_back(maker_.tree(kInputs, kOutputs));
      folders_.push_back(folder_ / std::to_string(i));
      write_tree(folders_.back(), kUp, trees_.back(), dtype);
      if (as_bf16) {
        for (auto& [name, tensor] : trees_.back().tensors) {
          const bool matrix = name.starts_with("moe_A.") || name.starts_with("moe_B.") ||
                              name.starts_with("moe_W.") || name == "moe_W_final";
          if (matrix) round_to(DType::kBF16, tensor);
        }
      }
    }
    for (int row = 0; row < rows; ++row) {
      owner_.push_back(maker_.between(-1, trees - 1));
      for (int i = 0; i < kInputs; ++i) x_.push_back(static_cast<float>(maker_.number(1)));
    }
  }

  int rows() const { return static_cast<int>(owner_.size()); }
  const std::vector<std::string>& folders() const { return folders_; }

  // Deltas of the given rows computed as one step.
  std::vector<float> run(Backend& backend, Adapters& adapters, const std::vector<int>& handles,
                         const std::vector<int>& rows) const {
    AdapterRows groups;
    std::vector<float> x;
    for (size_t tree = 0; tree < handles.size(); ++tree) {
      AdapterRows::Group group{handles[tree], {}};
      for (size_t i = 0; i < rows.size(); ++i) {
        if (owner_[rows[i]] == static_cast<int>(tree)) group.rows.push_back(static_cast<int>(i));
      }
      if (!group.rows.empty()) groups.groups.push_back(group);
    }
    for (int row : rows) {
      x.insert(x.end(), x_.begin() + row * kInputs, x_.begin() + (row + 1) * kInputs);
    }
    return adapter_backends::deltas(backend, adapters, 0, Site::kUp, groups, x, kInputs, kOutputs);
  }

  // The largest error of a row may be `tolerance` of its largest value.
  void check_against_reference(const std::vector<float>& y, double tolerance = 1e-4) const {
    for (int row = 0; row < rows(); ++row) {
      const float* got = y.data() + row * kOutputs;
      if (owner_[row] < 0) {
        CHECK(std::all_of(got, got + kOutputs, [](float value) { return value == 0; }));
        continue;
      }
      const RandomTree& tree = trees_[owner_[row]];
      CAPTURE(config_text(tree));
      const std::vector<double> x(x_.begin() + row * kInputs, x_.begin() + (row + 1) * kInputs);
      const std::vector<double> want = reference::tree_delta(tree.config, tree.tensors, x).delta;
      double largest = 0;
      double worst = 0;
      for (int i = 0; i < kOutputs; ++i) {
        largest = std::max(largest, std::abs(want[i]));
        worst = std::max(worst, std::abs(want[i] - got[i]));
      }
      CHECK(worst <= tolerance * largest);
    }
  }

 private:
  ScratchFolder folder_;
  TreeMaker maker_;
  std::vector<RandomTree> trees_;
  std::vector<std::string> folders_;
  std::vector<int> owner_;  // per row: its tree, or -1
  std::vector<float> x_;
};

std::vector<int> load_all(Adapters& adapters, const std::vector<std::string>& folders) {
  std::vector<int> handles;
  for (const std::string& folder : folders) {
    handles.push_back(adapters.add(folder));
    REQUIRE(adapters.acquire(handles.back()));
  }
  return handles;
}

std::vector<int> all_rows(const Scene& scene) {
  std::vector<int> rows(scene.rows());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

void check_lora(Backend& backend) {
  for (uint32_t seed = 1; seed <= 8; ++seed) {
    CAPTURE(seed);
    TreeMaker maker(seed);
    ScratchFolder folder;
    const bool biased = seed % 2 == 0;
    const bool stabilized = seed % 3 == 0;
    const int rank = maker.between(1, 9);
    std::map<std::string, reference::Tensor> tensors;
    const std::string prefix = std::string("base_model.model.") + kUp + ".lora_";
    tensors[prefix + "A.weight"] = maker.tensor({rank, kInputs}, 0.2);
    tensors[prefix + "B.weight"] = maker.tensor({kOutputs, rank}, 0.2);
    if (biased) tensors[prefix + "B.bias"] = maker.tensor({kOutputs}, 0.2);
    for (auto& [name, tensor] : tensors) round_to(DType::kBF16, tensor);
    write_adapter(folder / "lora",
                  "{\"peft_type\": \"LORA\", \"r\": 99, \"lora_alpha\": 5, \"rank_pattern\": "
                  "{\"gate_proj\": 3, \"mlp.up_p..j\": " +
                      std::to_string(rank) +
                      "}, \"alpha_pattern\": {\"^model.layers.[0-3].mlp.up_proj\": 7}" +
                      ", \"target_modules\": [\"up_proj\"]" +
                      (stabilized ? ", \"use_rslora\": true" : "") +
                      (biased ? ", \"lora_bias\": true" : "") + "}",
                  tensors, DType::kBF16);
    RandomTree tree = maker.tree(kInputs, kOutputs);
    write_tree(folder / "tree", kUp, tree, DType::kF32);

    Adapters adapters(one_layer(), adapter_backends::roomy(), backend);
    const std::vector<int> handles = load_all(adapters, {folder / "lora", folder / "tree"});
    std::vector<float> x;
    for (int i = 0; i < 4 * kInputs; ++i) x.push_back(static_cast<float>(maker.number(1)));
    const AdapterRows rows{{{handles[0], {1, 3}}, {handles[1], {2}}}};
    const std::vector<float> y =
        adapter_backends::deltas(backend, adapters, 0, Site::kUp, rows, x, kInputs, kOutputs);

    const double scale = 7.0 / (stabilized ? std::sqrt(rank) : rank);
    for (int row : {0, 1, 2, 3}) {
      const std::vector<double> input(x.begin() + row * kInputs, x.begin() + (row + 1) * kInputs);
      std::vector<double> want(kOutputs, 0.0);
      if (row % 2 == 1) {
        want = reference::lora_delta(tensors[prefix + "A.weight"], tensors[prefix + "B.weight"],
                                     tensors[prefix + "B.bias"].values, scale, input);
      } else if (row == 2) {
        want = reference::tree_delta(tree.config, tree.tensors, input).delta;
      }
      for (int i = 0; i < kOutputs; ++i) {
        CHECK(y[row * kOutputs + i] == doctest::Approx(want[i]).epsilon(1e-4));
      }
    }
  }
}

void check_together(Backend& backend) {
  ScratchFolder folder;
  TreeMaker maker(5);
  RandomTree up = maker.tree(kInputs, kOutputs);
  std::map<std::string, reference::Tensor> tensors;
  for (const auto& [name, tensor] : up.tensors) {
    tensors["base_model.model.model.layers.0.mlp.up_proj." + name] = tensor;
    tensors["base_model.model.model.layers.0.mlp.gate_proj." + name] = tensor;
  }
  for (auto& [name, tensor] : tensors) {
    if (name.find("gate_proj.moe_W_final") == name.npos) continue;
    for (double& value : tensor.values) value += 0.5;
  }
  write_adapter(folder / "a", config_text(up), tensors, DType::kF32);
  Adapters adapters(one_layer(), adapter_backends::roomy(), backend);
  const std::vector<int> handles = load_all(adapters, {folder / "a"});
  std::vector<float> x;
  for (int i = 0; i < 3 * kInputs; ++i) x.push_back(static_cast<float>(maker.number(1)));
  const AdapterRows rows{{{handles[0], {0, 2}}}};
  const Buffer placed = backend.place(x);
  const std::vector<float> zeros(3 * 2 * kOutputs);
  const auto run = [&](bool one_call) {
    return kernel_cases::changed(backend, zeros, [&](float* y) {
      const SiteOutput outputs[] = {{Site::kGate, y, 2 * kOutputs},
                                    {Site::kUp, y + kOutputs, 2 * kOutputs}};
      const std::span<const SiteOutput> all = outputs;
      const AdapterUse use(adapters, rows);
      if (one_call) {
        CHECK(adapters.apply(0, all, rows, placed.get(), kInputs).empty());
        return;
      }
      CHECK(adapters.apply(0, all.last(1), rows, placed.get(), kInputs).empty());
      CHECK(adapters.apply(0, all.first(1), rows, placed.get(), kInputs).empty());
    });
  };
  const std::vector<float> together = run(true);
  CHECK(together == run(false));
  CHECK(together[0] != together[kOutputs]);
}

void check_counts(Backend& backend) {
  const Scene scene(3, 1, 40, DType::kF32, false);
  Adapters adapters(one_layer(), adapter_backends::roomy(), backend);
  const int handle = load_all(adapters, scene.folders())[0];
  scene.run(backend, adapters, {handle}, all_rows(scene));
  const int idle = load_all(adapters, scene.folders())[0];
  const auto routing = adapters.routing(handle);
  REQUIRE(!routing.empty());
  const LinearRouting by_linear = adapters.routing_by_linear(handle);
  REQUIRE(by_linear.size() == adapters.info(handle).linears.size());
  std::vector<std::vector<uint64_t>> sums = adapters.routing(idle);
  for (const auto& levels : by_linear) {
    REQUIRE(levels.size() == routing.size());
    for (size_t l = 0; l < levels.size(); ++l) {
      CHECK(std::accumulate(levels[l].begin(), levels[l].end(), uint64_t{0}) > 0);
      for (size_t e = 0; e < levels[l].size(); ++e) sums[l][e] += levels[l][e];
    }
  }
  CHECK(sums == routing);
  for (const std::vector<uint64_t>& level : routing) {
    const uint64_t sum = std::accumulate(level.begin(), level.end(), uint64_t{0});
    CHECK(sum > 0);
    for (uint64_t tokens : level) CHECK(tokens <= 40);
  }
}

}  // namespace

TEST_CASE("random trees of every kind agree with the formulas on every kernel path") {
  for (const std::string& path : adapter_backends::paths()) {
    const auto backend = adapter_backends::backend(path);
    for (uint32_t seed = 1; seed <= 20; ++seed) {
      CAPTURE(path);
      CAPTURE(seed);
      const DType dtype = std::vector{DType::kF32, DType::kBF16, DType::kF16}[seed % 3];
      const bool as_bf16 = seed % 4 == 0;
      const Scene scene(seed, 3, 17, dtype, as_bf16);
      const ExpertType experts = as_bf16 ? ExpertType::kBf16 : ExpertType::kStored;
      Adapters adapters(one_layer(), adapter_backends::roomy(experts), *backend);
      const std::vector<int> handles = load_all(adapters, scene.folders());
      scene.check_against_reference(scene.run(*backend, adapters, handles, all_rows(scene)));
    }
  }
}

TEST_CASE("rounded activations cost less than 3% of a row's largest value, int8 weights than 8%") {
  for (const std::string& path : adapter_backends::paths()) {
    const auto backend = adapter_backends::backend(path, 2, ActivationType::kDigits);
    for (uint32_t seed = 1; seed <= 30; ++seed) {
      CAPTURE(path);
      CAPTURE(seed);
      const Scene scene(seed, 3, 17, DType::kBF16, false);
      for (const auto& [experts, tolerance] :
           {std::pair{ExpertType::kStored, 0.03}, {ExpertType::kInt8, 0.08}}) {
        Adapters adapters(one_layer(), adapter_backends::roomy(experts), *backend);
        const std::vector<int> handles = load_all(adapters, scene.folders());
        scene.check_against_reference(scene.run(*backend, adapters, handles, all_rows(scene)),
                                      tolerance);
      }
    }
  }
}

TEST_CASE("a row's delta has the same bits in every batch, on any number of threads") {
  for (const std::string& path : adapter_backends::paths()) {
    for (uint32_t seed = 100; seed < 108; ++seed) {
      const ActivationType activations = kActivationTypes[seed % 3];
      const ExpertType experts = seed % 4 < 2 ? ExpertType::kStored : ExpertType::kInt8;
      const auto one = adapter_backends::backend(path, 1, activations);
      const auto three = adapter_backends::backend(path, 3, activations);
      CAPTURE(path);
      CAPTURE(seed);
      const Scene scene(seed, 3, 70, DType::kBF16, false);
      Adapters whole(one_layer(), adapter_backends::roomy(experts), *one);
      Adapters parts(one_layer(), adapter_backends::roomy(experts), *three);
      const std::vector<float> want =
          scene.run(*one, whole, load_all(whole, scene.folders()), all_rows(scene));
      const std::vector<int> handles = load_all(parts, scene.folders());
      TreeMaker random(seed);
      std::vector<int> order = all_rows(scene);
      for (size_t first = 0; first < order.size();) {
        std::rotate(
            order.begin() + first,
            order.begin() + first + random.between(0, static_cast<int>(order.size() - first) - 1),
            order.end());
        const size_t count = random.between(1, static_cast<int>(order.size() - first));
        const std::vector<int> rows(order.begin() + first, order.begin() + first + count);
        const std::vector<float> got = scene.run(*three, parts, handles, rows);
        for (size_t i = 0; i < rows.size(); ++i) {
          CHECK(std::memcmp(got.data() + i * kOutputs, want.data() + rows[i] * kOutputs,
                            kOutputs * sizeof(float)) == 0);
        }
        first += count;
      }
    }
  }
}

TEST_CASE("LoRA of every setting agrees with the formula beside trees in one batch") {
  for (const std::string& path : adapter_backends::paths()) {
    CAPTURE(path);
    check_lora(*adapter_backends::backend(path));
  }
}

TEST_CASE("linears that share an input give the same bits in one call as in one call each") {
  for (const std::string& path : adapter_backends::paths()) {
    CAPTURE(path);
    check_together(*adapter_backends::backend(path));
  }
}

TEST_CASE("tokens are counted for each expert that they were routed to") {
  for (const std::string& path : adapter_backends::paths()) {
    CAPTURE(path);
    check_counts(*adapter_backends::backend(path));
  }
}

}  // namespace smore
