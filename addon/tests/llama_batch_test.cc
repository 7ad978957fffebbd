#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/reference.h"
#include "bench/random_model.h"
#include "tests/kernel_cases.h"
#include "tests/llama_harness.h"
#include "tests/temp_model.h"

namespace smore {

namespace {

using Rows = std::vector<std::vector<float>>;

constexpr int kTexts = 5;
constexpr int kLongest = 40;
constexpr int kLong = 120;  // tokens of the first text of a run: many pages, most of a context
constexpr int kMostRows = kLong + (kTexts - 1) * kLongest;
constexpr int kPages = 64;

struct Text {
  std::vector<int32_t> tokens;
  std::vector<int32_t> pages;
  int adapter = 0;
  int done = 0;
  Rows rows;  // logits by position
};

// Each text in one piece, alone.
Rows run_alone(LlamaHarness& model, const Text& text) {
  const Piece piece{text.tokens, 0, text.pages, text.adapter};
  return model.run({&piece, 1});
}

// All texts in steps of random pieces, with random companions.
void run_mixed(LlamaHarness& model, std::mt19937& random, std::vector<Text>& texts) {
  const auto below = [&](int n) { return static_cast<int>(random() % n); };
  for (bool left = true; left;) {
    std::vector<Piece> pieces;
    std::vector<Text*> owners;
    left = false;
    for (Text& text : texts) {
      const int remaining = static_cast<int>(text.tokens.size()) - text.done;
      left = left || remaining > 0;
      if (remaining == 0 || below(3) == 0) continue;
      const int count = below(2) == 0 ? 1 : 1 + below(remaining);
      const auto begin = text.tokens.begin() + text.done;
      pieces.push_back({{begin, begin + count}, text.done, text.pages, text.adapter});
      owners.push_back(&text);
    }
    if (pieces.empty()) continue;
    const Rows rows = model.run(pieces);
    size_t at = 0;
    for (size_t i = 0; i < pieces.size(); ++i) {
      for (size_t t = 0; t < pieces[i].tokens.size(); ++t) owners[i]->rows.push_back(rows[at++]);
      owners[i]->done += static_cast<int>(pieces[i].tokens.size());
    }
  }
}

std::vector<Text> make_texts(std::mt19937& random, int vocab, const std::vector<int>& adapters,
                             bool long_first = false) {
  std::vector<int32_t> pages(kPages);
  for (int i = 0; i < kPages; ++i) pages[i] = i;
  std::shuffle(pages.begin(), pages.end(), random);
  std::vector<Text> texts(kTexts);
  size_t next_page = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    Text& text = texts[i];
    text.adapter = adapters[i % adapters.size()];
    text.tokens.resize(long_first && i == 0 ? kLong : 1 + random() % kLongest);
    for (int32_t& token : text.tokens) token = static_cast<int32_t>(random() % vocab);
    for (size_t at = 0; at < text.tokens.size(); at += kPageTokens) {
      text.pages.push_back(pages[next_page++]);
    }
  }
  return texts;
}

// What the first layer's linears read for these texts.
std::vector<float> first_inputs(LlamaHarness& model, const std::vector<Text>& texts) {
  const int width = model.config().width;
  std::vector<float> inputs, x(width);
  std::vector<double> y(width);
  for (const Text& text : texts) {
    for (int32_t token : text.tokens) {
      model.backend().embed(*model.weights().embedding, {&token}, 1, 1, x.data());
      reference::rms_norm(x.data(), model.first_norm().data(), width, model.config().norm_eps,
                          y.data());
      inputs.insert(inputs.end(), y.begin(), y.end());
    }
  }
  return inputs;
}

// `folder`: of adapters.
void check_invariance(const std::string& path, const BackendOptions& options, Quantize quantize,
                      uint32_t seed, const std::string& folder = "",
                      const std::vector<std::string>& adapters = {}) {
  CAPTURE(path);
  LlamaHarness model(path, options, kMostRows, kPages, quantize, 5);
  // Others meet no integers.
  const bool quantized = quantize != Quantize::kNone || path.ends_with(".gguf");
  const bool digits = quantized && options.path != kernel_cases::kCuda;
  kernel_cases::LoudShare loud;
  std::vector<int> handles{0};
  for (const std::string& name : adapters) {
    handles.push_back(model.adapter(folder + "/" + name));
  }
  std::mt19937 random(seed);
  const int rounds = options.path == kernel_cases::kCuda ? 1 : 6;
  for (int round = 0; round < rounds; ++round) {
    CAPTURE(round);
    std::vector<Text> texts = make_texts(random, model.config().vocab, handles, round == 0);
    std::vector<Rows> alone;
    for (const Text& text : texts) alone.push_back(run_alone(model, text));
    if (digits) loud.count(first_inputs(model, texts), model.config().width);
    run_mixed(model, random, texts);
    for (size_t i = 0; i < texts.size(); ++i) {
      CAPTURE(texts[i].adapter);
      CHECK(texts[i].rows == alone[i]);  // to the bit
    }
  }
  if (digits) loud.check();
}

}  // namespace

TEST_CASE("rows that nobody needs change no bit of those that are") {
  const std::string folder = std::string(SMORE_FIXTURES) + "/tiny-llama-smore/tied";
  const BackendOptions options{.threads = 2, .activations = ActivationType::kDigits, .path = ""};
  LlamaHarness model(folder + "/model", options, kTexts * kLongest, kPages);
  std::mt19937 random(7);
  const std::vector<Text> texts = make_texts(random, model.config().vocab,
                                             {0, model.adapter(folder + "/adapters/smore-switch"),
                                              0, model.adapter(folder + "/adapters/lora")});
  std::vector<Piece> pieces;
  for (const Text& text : texts) pieces.push_back({text.tokens, 0, text.pages, text.adapter});
  const Rows all = model.run(pieces);
  const Rows last = model.run(pieces, true);
  size_t end = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    end += texts[i].tokens.size();
    CHECK(last[i] == all[end - 1]);
  }
}

TEST_CASE("rows of several adapters and of the base share one pass over the base weights") {
  const std::string folder = SMORE_FIXTURES "/tiny-llama-smore/tied";
  LlamaHarness model(folder + "/model",
                     {.threads = 2, .activations = ActivationType::kFloat32, .path = ""}, 8, 4);
  const std::vector<Piece> pieces = {
      {.tokens = {1, 2, 3}, .pages = {0}},
      {.tokens = {4}, .pages = {1}, .adapter = model.adapter(folder + "/adapters/smore-switch")},
      {.tokens = {5, 6}, .pages = {2}, .adapter = model.adapter(folder + "/adapters/lora")}};
  model.run(pieces);
  CHECK(model.take_passes() == 1);
  for (const Piece& piece : pieces) model.run({&piece, 1});
  CHECK(model.take_passes() == 3);
}

TEST_CASE("a row's logits are bit-equal whatever the batch, its neighbours and the chunking") {
  const std::string fixtures = SMORE_FIXTURES;
  const uint32_t seed = std::random_device()();  // told with every fault
  CAPTURE(seed);
  // Heads of a size that tensor cores attend, which those of the fixtures are too small for.
  const TempFolder folder;
  write_random_model(folder.path(), {"", 1, 64, 96, 4, 2, 64, 96, true});
  kernel_cases::for_each_backend([&](const std::string& path, ActivationType activations) {
    const BackendOptions options{.threads = 2, .activations = activations, .path = path};
    const std::string tied = fixtures + "/tiny-llama-smore/tied";
    check_invariance(tied + "/model", options, Quantize::kNone, seed, tied + "/adapters",
                     {"smore-switch", "smore-noisy", "lora"});
    check_invariance(fixtures + "/tiny-llama-smore/untied/model", options, Quantize::kQ4_0, seed);
    check_invariance(fixtures + "/families/gemma2/model", options, Quantize::kQ8_0, seed);
    check_invariance(fixtures + "/families/mistral/model", options, Quantize::kNone, seed);
    check_invariance(fixtures + "/gguf/llama-mixed.gguf", options, Quantize::kNone, seed);
    check_invariance(folder.path(), options, Quantize::kNone, seed);
  });
}

}  // namespace smore
