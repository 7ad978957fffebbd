#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "tests/readout_harness.h"

// Sampling sums integers: every backend draws the same tokens and tells the same log probabilities,
// bit for bit, at every border too.

namespace smore {

namespace {

constexpr int kSequences = 5;

class Cases {
 public:
  explicit Cases(int vocab) : vocab_(vocab), random_(static_cast<uint32_t>(vocab)) {}

  // Logits of many kinds: spread, flat, with equal values and both zeros, with a tail that has no
  // weight.
  std::vector<float> row() {
    const int kind = pick(6);
    std::normal_distribution<float> normal(0, kind == 0 ? 30.0f : 2.0f);
    std::vector<float> logits(vocab_);
    for (float& logit : logits) {
      logit = kind == 1 ? 0.5f : normal(random_);
      if (kind == 2) logit = std::round(logit);
      if (kind == 3 && pick(4) != 0) logit = pick(2) == 0 ? 0.0f : -0.0f;
      if (kind == 4 && pick(3) != 0) logit -= 200;
    }
    if (pick(30) == 0) logits[pick(vocab_)] = pick(2) == 0 ? NAN : INFINITY;
    return logits;
  }

  // One that begins, or goes on with its last token.
  Sequence sequence(int slot, bool begins, int step) {
    Sequence s{.tokens = {pick(vocab_)},
               .slot = slot,
               .context = begins ? 0 : step,
               .sample_index = step,
               .seed = random_()};
    if (!begins) s.flags |= kTokenFromSlot;
    s.flags |= (options_[slot] & kPenalties) | (pick(2) == 0 ? kLogprobs : 0u);
    draw_by(s);
    for (int i = pick(3) == 0 ? pick(7) : 0; i > 0; --i) {
      s.biases.emplace_back(pick(std::min(vocab_, 5)), static_cast<float>(pick(9) - 4));
    }
    if (begins && (s.flags & kPenalties)) {
      for (int i = pick(40); i > 0; --i) s.history.push_back(pick(vocab_));
      s.history_prompt = pick(static_cast<int>(s.history.size()) + 1);
    }
    return s;
  }

  // With kMask in one sequence of a step all bring one.
  void mask(std::vector<Sequence>& sequences) {
    if (pick(2) == 0) return;
    for (Sequence& s : sequences) {
      s.mask.assign(bit_words(vocab_), 0);
      const int allowed = pick(3) == 0 ? 1 : 1 + pick(vocab_);
      for (int i = 0; i < allowed; ++i) {
        const int token = pick(vocab_);
        s.mask[token / 32] |= 1u << (token % 32);
      }
      if (pick(3) != 0) s.flags |= kMask;
    }
  }

  void choose_options() {
    for (uint32_t& options : options_) options = pick(2) == 0 ? kPenalties : 0u;
  }

  int pick(int count) { return static_cast<int>(random_() % static_cast<uint32_t>(count)); }

 private:
  void draw_by(Sequence& s) {
    const float temperatures[] = {0, 1e-5f, 0.3f, 1, 1.7f, 1000, INFINITY};
    const float shares[] = {0, 0.1f, 0.5f, 0.9f, 0.999f, 0.99999994f};
    s.temperature = temperatures[pick(7)];
    if (pick(2) == 0) s.top_p = shares[pick(6)];
    if (pick(3) == 0) s.min_p = pick(4) == 0 ? 1 : shares[1 + pick(3)];
    if (pick(3) == 0) s.top_k = pick(5) == 0 ? INT32_MAX : 1 + pick(vocab_ + 3);
    s.top_logprobs = pick(2) == 0 ? 0 : pick(std::min(kMaxTopLogprobs, vocab_) + 1);
    s.presence = static_cast<float>(pick(5) - 2) * 0.37f;
    s.frequency = static_cast<float>(pick(5) - 2) * 0.19f;
    s.repetition = 0.5f + static_cast<float>(pick(4)) * 0.33f;
  }

  int vocab_;
  std::mt19937 random_;
  uint32_t options_[kSequences] = {};
};

void check_same(const HandMadeStep& got, const HandMadeStep& want) {
  CHECK(got.status == want.status);
  CHECK(got.sampled == want.sampled);
  CHECK(got.sampled_logprob == want.sampled_logprob);
  CHECK(got.top_tokens == want.top_tokens);
  CHECK(got.top_logprobs_out == want.top_logprobs_out);
  CHECK(got.row_logprob == want.row_logprob);
  CHECK(got.row_top_tokens == want.row_top_tokens);
  CHECK(got.row_top_logprobs == want.row_top_logprobs);
}

}  // namespace

TEST_CASE("backends draw the same tokens with the same log probabilities, whatever the options") {
  if (cuda_devices().usable.empty()) return;
  for (const int vocab : {1, 2, 31, 33, 257, 1000, 2048, 2049, 4097, 9001}) {
    CAPTURE(vocab);
    Cases cases(vocab);
    ReadoutHarness cpu("", vocab);
    ReadoutHarness cuda(kernel_cases::kCuda, vocab);
    for (int text = 0; text < 6; ++text) {
      cases.choose_options();
      for (int step = 0; step < 4; ++step) {
        CAPTURE(text);
        CAPTURE(step);
        std::vector<Sequence> sequences;
        std::vector<float> logits;
        for (int b = 0; b < kSequences; ++b) {
          sequences.push_back(cases.sequence(b, step == 0, step));
          const std::vector<float> row = cases.row();
          logits.insert(logits.end(), row.begin(), row.end());
        }
        cases.mask(sequences);
        check_same(cuda.run(sequences, logits), cpu.run(sequences, logits));
      }
    }
  }
}

TEST_CASE(
    "backends draw the same tokens of a large vocabulary, where few of them matter and many") {
  if (cuda_devices().usable.empty()) return;
  constexpr int kVocab = 128256;
  std::mt19937 random(11);
  ReadoutHarness cpu("", kVocab);
  ReadoutHarness cuda(kernel_cases::kCuda, kVocab);
  for (const float spread : {0.01f, 1.0f, 4.0f}) {
    CAPTURE(spread);
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> row(kVocab);
    for (float& logit : row) logit = normal(random);
    std::vector<Sequence> sequences;
    for (const auto& [temperature, top_p, min_p, top_k] :
         {std::tuple{0.0f, 1.0f, 0.0f, 0}, std::tuple{1.0f, 1.0f, 0.0f, 0},
          std::tuple{0.7f, 0.9f, 0.0f, 0}, std::tuple{1.0f, 0.99f, 0.01f, 0},
          std::tuple{0.8f, 0.95f, 0.0f, 40}, std::tuple{1.5f, 1.0f, 0.0f, 5000},
          std::tuple{1.0f, 0.5f, 0.1f, 100000}}) {
      const auto b = static_cast<int>(sequences.size());
      sequences.push_back({.tokens = {1},
                           .slot = b,
                           .flags = kSample | kLogprobs,
                           .seed = random(),
                           .temperature = temperature,
                           .top_p = top_p,
                           .min_p = min_p,
                           .top_k = top_k,
                           .top_logprobs = b % 2 == 0 ? 20 : 0});
    }
    std::vector<float> logits;
    for (size_t b = 0; b < sequences.size(); ++b)
      logits.insert(logits.end(), row.begin(), row.end());
    for (int draw = 0; draw < 3; ++draw) {
      for (Sequence& s : sequences) s.sample_index += 1;
      check_same(cuda.run(sequences, logits), cpu.run(sequences, logits));
    }
  }
}

TEST_CASE("backends tell the same log probabilities of prompts") {
  if (cuda_devices().usable.empty()) return;
  for (const int vocab : {1, 20, 333, 5000}) {
    CAPTURE(vocab);
    Cases cases(vocab);
    ReadoutHarness cpu("", vocab);
    ReadoutHarness cuda(kernel_cases::kCuda, vocab);
    for (int text = 0; text < 10; ++text) {
      Sequence s{.flags = kPromptLogprobs | (text % 2 == 0 ? kSample : 0u),
                 .top_logprobs = cases.pick(std::min(20, vocab) + 1)};
      std::vector<float> logits;
      for (int t = 0; t < 7; ++t) {
        s.tokens.push_back(cases.pick(vocab));
        s.next_tokens.push_back(t == 3 ? -1 : cases.pick(vocab));
        if (t == 3) continue;
        const std::vector<float> row = cases.row();
        logits.insert(logits.end(), row.begin(), row.end());
      }
      const HandMadeStep got = cuda.run({s}, logits);
      check_same(got, cpu.run({s}, logits));
    }
  }
}

TEST_CASE("a row's results do not depend on the rows beside it") {
  for (const std::string& path : {std::string(), std::string(kernel_cases::kCuda)}) {
    if (!path.empty() && cuda_devices().usable.empty()) return;
    CAPTURE(path);
    constexpr int kVocab = 700;
    Cases cases(kVocab);
    std::vector<Sequence> sequences;
    std::vector<float> logits;
    for (int b = 0; b < kSequences; ++b) {
      sequences.push_back(cases.sequence(b, true, 0));
      const std::vector<float> row = cases.row();
      logits.insert(logits.end(), row.begin(), row.end());
    }
    ReadoutHarness together(path, kVocab);
    const HandMadeStep all = together.run(sequences, logits);
    for (int b = 0; b < kSequences; ++b) {
      ReadoutHarness alone(path, kVocab);
      const auto first = logits.begin() + int64_t{b} * kVocab;
      const HandMadeStep one = alone.run({sequences[b]}, {first, first + kVocab});
      CHECK(one.sampled[0] == all.sampled[b]);
      CHECK(one.sampled_logprob[0] == all.sampled_logprob[b]);
    }
  }
}

}  // namespace smore
