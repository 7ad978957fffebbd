#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/golden_file.h"
#include "tests/llama_harness.h"

namespace smore {

namespace {

constexpr double kTolerance = 1e-4;
constexpr double kRounded = 0.05;  // weights to 8 bits, and they and activations to bfloat16
constexpr double kOtherOrder = 1.0 / 256;  // of sums, by which a value may be rounded the other way
constexpr int kLongStep = 400;             // rows at most

struct ModelCase {
  std::string folder;  // below test/fixtures
  std::vector<std::string> variants;
  std::string model = "model";  // below the folder
};

const std::vector<ModelCase> kModels = {
    {"families/llama3-rope", {"base"}},
    {"families/mistral", {"base"}},
    {"families/qwen2", {"base"}},
    {"families/qwen3", {"base"}},
    {"families/gemma2", {"base"}},
    {"families/llama3-rope", {"base"}, "../../gguf/llama3-rope.gguf"},
    {"families/mistral", {"base"}, "../../gguf/mistral.gguf"},
    {"families/qwen2", {"base"}, "../../gguf/qwen2.gguf"},
    {"families/qwen3", {"base"}, "../../gguf/qwen3.gguf"},
    {"families/gemma2", {"base"}, "../../gguf/gemma2.gguf"},
    {"tiny-llama-smore/tied", {"base", "smore-switch", "smore-noisy", "lora"}},
    {"tiny-llama-smore/untied", {"base", "smore-switch", "smore-dense-shared", "lora"}},
    {"tiny-gemma2-smore", {"base", "smore-noisy"}},
    {"family/lora-variants", {"rslora", "pattern"}, "../../tiny-llama-smore/untied/model"},
};

std::vector<int32_t> pages_for(int positions, int first) {
  std::vector<int32_t> pages;
  for (int at = 0; at < positions; at += kPageTokens) pages.push_back(first++);
  return pages;
}

void check_variant(LlamaHarness& model, const GoldenFile& golden, const std::string& key,
                   int adapter) {
  const std::vector<int32_t> prompt = golden.ints(key.substr(0, 2) + ".prompt");
  const std::vector<float> want = golden.floats(key + ".logits");
  const std::vector<int32_t> want_tokens = golden.ints(key + ".greedy_tokens");
  const int length = static_cast<int>(prompt.size());
  Piece piece{prompt, 0, pages_for(length + static_cast<int>(want_tokens.size()), 0), adapter};

  std::vector<std::vector<float>> rows = model.run({&piece, 1});
  std::vector<float> got;
  for (const std::vector<float>& row : rows) got.insert(got.end(), row.begin(), row.end());
  CHECK(relative_error(got, want) <= kTolerance);

  std::vector<int32_t> tokens;
  for (;;) {
    tokens.push_back(argmax(rows.back()));
    if (tokens.size() == want_tokens.size()) break;
    piece.context += static_cast<int>(piece.tokens.size());
    piece.tokens = {tokens.back()};
    rows = model.run({&piece, 1});
  }
  CHECK(tokens == want_tokens);
}

void check_model(const ModelCase& c, const std::string& path) {
  const std::string folder = std::string(SMORE_FIXTURES) + "/" + c.folder;
  const GoldenFile golden(folder + "/golden.safetensors");
  LlamaHarness model(folder + "/" + c.model,
                     {.threads = 2, .activations = ActivationType::kFloat32, .path = path}, 64, 16);
  for (const std::string& variant : c.variants) {
    const int adapter = variant == "base" ? 0 : model.adapter(folder + "/adapters/" + variant);
    for (const char* prompt : {"p0", "p1"}) {
      CAPTURE(c.folder);
      CAPTURE(c.model);
      CAPTURE(variant);
      CAPTURE(prompt);
      check_variant(model, golden, std::string(prompt) + "." + variant, adapter);
    }
  }
}

// Logits of a prompt that stands many times over in one step.
std::vector<float> long_step(LlamaHarness& model, const std::vector<int32_t>& prompt) {
  const int length = static_cast<int>(prompt.size());
  const int pages = (length + kPageTokens - 1) / kPageTokens;
  std::vector<Piece> pieces;
  for (int rows = length; rows <= kLongStep; rows += length) {
    const int first = static_cast<int>(pieces.size()) * pages;
    pieces.push_back({prompt, 0, pages_for(length, first), 0});
  }
  std::vector<float> logits;
  for (const std::vector<float>& row : model.run(pieces)) {
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

}  // namespace

TEST_CASE("tiny models give the reference's logits and its greedy tokens on every path") {
  for (const std::string& path : cpu_paths()) {
    CAPTURE(path);
    for (const ModelCase& c : kModels) check_model(c, path);
  }
}

TEST_CASE("a GPU gives the reference's logits and greedy tokens too") {
  if (cuda_devices().usable.empty()) return;
  for (const ModelCase& c : kModels) check_model(c, kernel_cases::kCuda);
}

TEST_CASE("a GPU gives the reference's logits where cuBLASLt multiplies a long step") {
  if (!kernel_cases::cublaslt_backend()) return;
  for (const ModelCase& c : kModels) {
    if (c.variants[0] != "base") continue;
    CAPTURE(c.folder);
    CAPTURE(c.model);
    const std::string folder = std::string(SMORE_FIXTURES) + "/" + c.folder;
    const GoldenFile golden(folder + "/golden.safetensors");
    const std::vector<int32_t> prompt = golden.ints("p0.prompt");
    const auto run = [&](std::unique_ptr<Backend> backend) {
      LlamaHarness model(folder + "/" + c.model, std::move(backend), kLongStep, 256,
                         Quantize::kQ8_0);
      return long_step(model, prompt);
    };
    const std::vector<float> ours =
        run(kernel_cases::backend(kernel_cases::kCuda, ActivationType::kDigits));
    const std::vector<float> got = run(kernel_cases::cublaslt_backend());
    CHECK(relative_error(got, ours) <= kOtherOrder);
    const std::vector<float> once = golden.floats("p0.base.logits");
    std::vector<float> want;
    while (want.size() < got.size()) want.insert(want.end(), once.begin(), once.end());
    CHECK(relative_error(got, want) <= kRounded);
  }
}

}  // namespace smore
