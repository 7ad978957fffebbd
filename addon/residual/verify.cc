#include "residual/verify.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "core/error.h"
#include "io/safetensors.h"
#include "residual/adapter_file.h"
#include "residual/adapters.h"

namespace smore {
namespace {

constexpr float kTolerance = 1e-4f;
constexpr int kRandomSplits = 4;
constexpr uint64_t kMemory = uint64_t{1} << 28;  // for the adapter, whatever its size
constexpr uint32_t kFirstLayer = 1;

struct Golden {
  int inputs = 0;
  int outputs = 0;
  int tokens = 0;
  std::vector<float> x;                    // [tokens, in]
  std::vector<float> y;                    // [tokens, out]
  std::vector<float> base_y;               // [tokens, out]
  std::vector<float> bias;                 // [out] or empty
  MatrixSource weight;                     // [out, in]
  std::vector<std::vector<int32_t>> ids;   // per level, [tokens, pairs]
  std::vector<std::vector<float>> scores;  // of these experts
};

class Runner {
 public:
  Runner(const std::string& file, Backend& backend) : backend_(backend) {
    content_ = open_safetensors(file);
    read_golden(file);
    ModelConfig base;
    base.layers = 1;
    base.width = golden_.inputs;
    base.ffn_width = golden_.outputs;
    adapters_.emplace(
        base, AdapterOptions{.memory_budget = kMemory, .max_resident = 1, .device_budget = kMemory},
        backend);
    handle_ = adapters_->add(open_adapter_golden(file));
    adapters_->acquire(handle_);
    pairs_ = adapters_->routes(handle_, &kFirstLayer);
    check_pairs(file);
    weight_ = backend.pack({&golden_.weight, 1});
    bias_ = backend.place(golden_.bias);
    seen_.resize(golden_.tokens);
  }

  // Every token once in one batch, each alone, then random batches. Returns the first fault.
  std::optional<std::string> run() {
    std::vector<int> order(golden_.tokens);
    std::iota(order.begin(), order.end(), 0);
    std::mt19937 random(7);
    std::vector<bool> adapted(order.size(), true);
    if (auto fault = run_batch(order, adapted)) return fault;
    for (const int token : order) {
      if (auto fault = run_batch({token}, {true})) return fault;
    }
    for (int split = 0; split < kRandomSplits; ++split) {
      std::shuffle(order.begin(), order.end(), random);
      for (size_t first = 0; first < order.size();) {
        const size_t count = 1 + random() % (order.size() - first);
        const std::vector<int> batch(order.begin() + first, order.begin() + first + count);
        adapted.assign(count, false);
        for (size_t i = 0; i < count; ++i) adapted[i] = random() % 4 != 0;
        if (auto fault = run_batch(batch, adapted)) return fault;
        first += count;
      }
    }
    return std::nullopt;
  }

  float worst() const { return worst_; }
  int batches() const { return batches_; }

 private:
  const TensorView* find(const std::string& name) const {
    for (const TensorView& tensor : content_.content.tensors) {
      if (tensor.name == name) return &tensor;
    }
    return nullptr;
  }

  const TensorView& need(const std::string& file, const std::string& name, DType dtype) const {
    const TensorView* tensor = find(name);
    if (tensor == nullptr || tensor->dtype != dtype) {
      throw Error(ErrorCode::kInvalidFile, file + ": " + name + ": missing or not of type " +
                                               dtype_info(dtype).name +
                                               "; not a single-layer golden file");
    }
    return *tensor;
  }

  std::vector<float> floats(const std::string& file, const std::string& name, int64_t count) const {
    const TensorView& tensor = need(file, name, DType::kF32);
    if (tensor.elements() != count) {
      throw Error(ErrorCode::kInvalidFile, file + ": " + name + ": has shape " +
                                               shape_text(tensor) + ", expected " +
                                               std::to_string(count) + " values");
    }
    return to_floats(tensor);
  }

  void read_golden(const std::string& file) {
    golden_.weight.tensor = need(file, "base.weight", DType::kF32);
    golden_.outputs = static_cast<int>(golden_.weight.tensor.shape[0]);
    golden_.inputs = static_cast<int>(golden_.weight.tensor.shape[1]);
    golden_.tokens = static_cast<int>(need(file, "x", DType::kF32).shape[0]);
    const int64_t values = int64_t{golden_.tokens} * golden_.outputs;
    golden_.x = floats(file, "x", int64_t{golden_.tokens} * golden_.inputs);
    golden_.y = floats(file, "expected.y", values);
    golden_.base_y = floats(file, "expected.base_y", values);
    if (find("base.bias") != nullptr) golden_.bias = floats(file, "base.bias", golden_.outputs);
    for (int l = 0;; ++l) {
      const std::string name = "expected.topk_indices." + std::to_string(l);
      if (find(name) == nullptr) break;
      const TensorView& ids = need(file, name, DType::kI32);
      golden_.ids.emplace_back(ids.elements());
      std::memcpy(golden_.ids.back().data(), ids.data, ids.bytes());
      const std::string scores = "expected.topk_scores." + std::to_string(l);
      golden_.scores.push_back(floats(file, scores, ids.elements()));
    }
  }

  void check_pairs(const std::string& file) const {
    int64_t expected = 0;
    for (const std::vector<int32_t>& ids : golden_.ids) {
      expected += static_cast<int64_t>(ids.size());
    }
    if (expected == golden_.tokens * pairs_) return;
    throw Error(ErrorCode::kInvalidFile, file + ": expected.topk_indices: hold " +
                                             std::to_string(expected) + " entries for " +
                                             std::to_string(golden_.tokens) + " tokens of " +
                                             std::to_string(pairs_));
  }

  std::optional<std::string> run_batch(const std::vector<int>& tokens,
                                       const std::vector<bool>& adapted) {
    const int rows = static_cast<int>(tokens.size());
    std::vector<float> x;
    AdapterRows groups{{{handle_, {}}}};
    std::vector<int32_t>& chosen = groups.groups[0].rows;
    std::vector<int32_t> experts(rows * pairs_);
    std::vector<float> scores(experts.size());
    for (int i = 0; i < rows; ++i) {
      const float* row = golden_.x.data() + int64_t{tokens[i]} * golden_.inputs;
      x.insert(x.end(), row, row + golden_.inputs);
      if (!adapted[i]) continue;
      chosen.push_back(i);
      groups.probes.push_back(
          {i, handle_, &kFirstLayer, experts.data() + i * pairs_, scores.data() + i * pairs_});
    }
    const int64_t values = int64_t{rows} * golden_.outputs;
    const Buffer placed = backend_.place(x);
    const Buffer y = backend_.take(values);
    backend_.matmul(*weight_, placed.get(), rows, bias_.get(), y.get());
    const std::vector<int> failed = adapters_->apply(0, Site::kUp, groups, placed.get(),
                                                     golden_.inputs, y.get(), golden_.outputs);
    const float* computed = backend_.to_host(y.get(), values);
    batches_ += 1;
    if (!failed.empty()) return "a page of the adapter could not be read";
    for (int i = 0; i < rows; ++i) {
      const float* got = computed + int64_t{i} * golden_.outputs;
      if (auto fault = check_row(tokens[i], adapted[i], got)) return fault;
    }
    for (const int32_t row : chosen) {
      const int64_t at = row * pairs_;
      if (auto fault = check_routing(tokens[row], experts.data() + at)) return fault;
      if (auto fault = check_scores(tokens[row], scores.data() + at)) return fault;
    }
    return std::nullopt;
  }

  std::optional<std::string> check_row(int token, bool adapted, const float* got) {
    const std::vector<float>& all = adapted ? golden_.y : golden_.base_y;
    float largest = 0;
    for (float value : all) largest = std::max(largest, std::abs(value));
    const float* want = all.data() + int64_t{token} * golden_.outputs;
    for (int i = 0; i < golden_.outputs; ++i) {
      const float error = std::abs(got[i] - want[i]) / largest;
      worst_ = std::max(worst_, error);
      if (error <= kTolerance) continue;
      char text[160];
      std::snprintf(text, sizeof text, "expected.%sy[%d, %d]: got %.7g, expected %.7g",
                    adapted ? "" : "base_", token, i, got[i], want[i]);
      return text;
    }
    if (!adapted) return std::nullopt;
    std::vector<float>& seen = seen_[token];
    if (seen.empty()) seen.assign(got, got + golden_.outputs);
    if (std::memcmp(seen.data(), got, seen.size() * sizeof(float)) == 0) return std::nullopt;
    return "token " + std::to_string(token) + " has other bits in another batch";
  }

  // `got`: the chosen experts level by level.
  std::optional<std::string> check_routing(int token, const int32_t* got) const {
    for (size_t l = 0; l < golden_.ids.size(); ++l) {
      const auto pairs = static_cast<int64_t>(golden_.ids[l].size()) / golden_.tokens;
      const int32_t* want = golden_.ids[l].data() + token * pairs;
      const int32_t* differs = std::mismatch(want, want + pairs, got).first;
      if (differs != want + pairs) {
        return "expected.topk_indices." + std::to_string(l) + "[" + std::to_string(token) +
               "], entry " + std::to_string(differs - want) + ": got " +
               std::to_string(got[differs - want]) + ", expected " + std::to_string(*differs);
      }
      got += pairs;
    }
    return std::nullopt;
  }

  // `got`: the scores of the chosen experts level by level.
  std::optional<std::string> check_scores(int token, const float* got) const {
    for (size_t l = 0; l < golden_.scores.size(); ++l) {
      const std::vector<float>& all = golden_.scores[l];
      float largest = 0;
      for (float score : all) largest = std::max(largest, std::abs(score));
      const auto pairs = static_cast<int64_t>(all.size()) / golden_.tokens;
      for (int64_t i = 0; i < pairs; ++i) {
        const float want = all[token * pairs + i];
        if (std::abs(got[i] - want) <= kTolerance * largest) continue;
        char text[160];
        std::snprintf(text, sizeof text,
                      "expected.topk_scores.%zu[%d], entry %d: got %.7g, expected %.7g", l, token,
                      static_cast<int>(i), got[i], want);
        return text;
      }
      got += pairs;
    }
    return std::nullopt;
  }

  Backend& backend_;
  SafetensorsFile content_;
  Golden golden_;
  std::optional<Adapters> adapters_;
  int handle_ = 0;
  int64_t pairs_ = 0;  // chosen experts of a token, over all levels
  std::unique_ptr<Matrix> weight_;
  Buffer bias_;
  std::vector<std::vector<float>> seen_;  // per token, the first result
  float worst_ = 0;
  int batches_ = 0;
};

}  // namespace

VerifyResult verify_layer(const std::string& file, Backend& backend) {
  VerifyResult result;
  result.file = file;
  try {
    Runner runner(file, backend);
    const std::optional<std::string> fault = runner.run();
    result.passed = !fault.has_value();
    if (fault.has_value()) {
      result.detail = *fault;
    } else {
      char text[96];
      std::snprintf(text, sizeof text, "worst error %.2g of the largest value over %d batches",
                    static_cast<double>(runner.worst()), runner.batches());
      result.detail = text;
    }
  } catch (const std::exception& fault) {
    result.detail = fault.what();
  }
  return result;
}

}  // namespace smore
