#include "sampling/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "backends/cpu/kernels.h"
#include "sampling/random.h"
#include "sampling/softmax.h"

namespace smore {

namespace {

constexpr int kDraws = 20000;

std::vector<float> random_logits(std::mt19937& random, int count, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p(logits.size());
  for (size_t i = 0; i < p.size(); ++i) p[i] = std::exp((logits[i] - max) / temperature);
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= total;
  return p;
}

// Ids in the order in which cuts keep them: likeliest first, lower id among equals.
std::vector<int32_t> ranked(const std::vector<float>& logits) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  return ids;
}

// What the definitions say is left: a full sort, no shortcuts.
std::set<int32_t> allowed(const Sampling& s, const std::vector<float>& logits) {
  const std::vector<double> p = softmax(logits, s.temperature);
  const std::vector<int32_t> order = ranked(logits);
  std::vector<int32_t> left;
  for (const int32_t id : order) {
    if (p[id] >= s.min_p * p[order[0]] && (s.top_k == 0 || std::ssize(left) < s.top_k)) {
      left.push_back(id);
    }
  }
  double total = 0;
  for (const int32_t id : left) total += p[id];
  std::set<int32_t> kept;
  double reached = 0;
  for (const int32_t id : left) {
    kept.insert(id);
    reached += p[id];
    if (reached >= s.top_p * total) break;
  }
  return kept;
}

int32_t draw(const Sampling& s, const std::vector<float>& logits) {
  return sample(s, logits, peak(logits).value, kGenericKernels.weight_sum);
}

std::map<int32_t, int> histogram(Sampling s, const std::vector<float>& logits) {
  std::map<int32_t, int> counts;
  for (int i = 0; i < kDraws; ++i) {
    s.index = static_cast<uint64_t>(i);
    ++counts[draw(s, logits)];
  }
  return counts;
}

}  // namespace

TEST_CASE("uniform numbers depend on seed and index alone and fill the interval evenly") {
  std::vector<int> buckets(16);
  for (uint64_t i = 0; i < 16000; ++i) {
    const double u = uniform_at(42, i);
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    CHECK(u == uniform_at(42, i));
    ++buckets[static_cast<size_t>(u * 16)];
  }
  for (const int count : buckets) CHECK(std::abs(count - 1000) < 150);
  CHECK(uniform_at(1, 0) != uniform_at(2, 0));
  CHECK(uniform_at(0, 0) != uniform_at(0, 1));
}

TEST_CASE("likelihoods are exact to float precision, and weights to their unit") {
  for (float x = -80; x <= 0; x += 0.0137f) {
    const double want = std::exp(double{x});
    CHECK(likelihood(x, 0, 1) == doctest::Approx(want).epsilon(3e-7));
    CHECK(std::abs(static_cast<double>(weight(x, 0, 1)) - want * kOne) < 0.51 + 3e-7 * want * kOne);
  }
  CHECK(weight(3, 3, 7) == 1ull << 40);
  CHECK(weight(-INFINITY, 0, 1) == 0);
  CHECK(weight(-INFINITY, 0, 0) == 0);
}

TEST_CASE("sums of weights are those of the tokens on every path, and shares of them exact") {
  const KernelList paths = machine_kernels();
  std::mt19937 random(5);
  for (const int count : {1, 3, 4, 7, 8, 9, 15, 16, 17, 255, 256, 257, 50000}) {
    CAPTURE(count);
    std::vector<float> logits = random_logits(random, count, 4);
    if (count > 8) logits[3] = -INFINITY, logits[8] = -1e30f;
    const float max = peak(logits).value;
    for (const float scale : {0.0f, 0.7f, 40.0f}) {
      uint64_t total = 0;
      for (const float logit : logits) total += weight(logit, max, scale);
      for (size_t i = 0; i < paths.count; ++i) {
        CAPTURE(paths.tables[i]->name);
        CHECK(paths.tables[i]->weight_sum(logits.data(), count, max, scale) == total);
      }
    }
  }
  const uint64_t most = 1ull << 63;
  CHECK(share_of(most, 0) == 0);
  CHECK(share_of(most, 0.5) == most / 2);
  CHECK(share_of(most, 1 - 0x1p-53) == most - (most >> 53));
  CHECK(share_of(1, 1 - 0x1p-53) == 0);
}

TEST_CASE("an infinite temperature draws evenly, also where min_p keeps the likeliest alone") {
  const std::vector<float> logits{1, 5, 5, -3};
  std::set<int32_t> drawn, likeliest;
  for (uint64_t i = 0; i < 200; ++i) {
    drawn.insert(draw({.temperature = INFINITY, .top_p = 0.99f, .seed = i}, logits));
    likeliest.insert(draw({.temperature = INFINITY, .min_p = 1, .seed = i}, logits));
  }
  CHECK(drawn == std::set<int32_t>{0, 1, 2, 3});
  CHECK(likeliest == std::set<int32_t>{1, 2});
}

TEST_CASE("greedy takes the likeliest token, the lowest id among equals") {
  std::vector<float> logits{1, 5, -2, 5, 5};
  CHECK(draw({}, logits) == 1);
  logits[0] = 5;
  CHECK(draw({}, logits) == 0);
  for (const int at : {0, 63, 64, 200, 255, 256, 299}) {
    std::vector<float> one(300, -1.0f);
    one[at] = one[299] = 2;
    CHECK(draw({}, one) == at);
  }
  CHECK(draw({.temperature = 1e-9f, .seed = 3}, logits) == 0);
}

TEST_CASE("logits that are not numbers are found wherever they are") {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const int at : {0, 15, 16, 33, 36}) {
      std::vector<float> logits(37, -3.0f);
      CHECK(peak(logits).finite);
      logits[at] = bad;
      CHECK_FALSE(peak(logits).finite);
    }
  }
}

TEST_CASE("the peak is the largest logit wherever it is, of any number of them") {
  std::mt19937 random(31);
  std::normal_distribution<float> normal(-5, 1);
  for (size_t count = 1; count <= 70; ++count) {
    CAPTURE(count);
    std::vector<float> logits(count);
    for (float& logit : logits) logit = normal(random);
    for (size_t at = 0; at < count; ++at) {
      CAPTURE(at);
      const float before = std::exchange(logits[at], 2.5f);
      CHECK(peak(logits).value == 2.5f);
      logits[at] = -1e30f;
      CHECK(peak(logits).value == *std::max_element(logits.begin(), logits.end()));
      logits[at] = before;
    }
    CHECK(peak(logits).value == *std::max_element(logits.begin(), logits.end()));
  }
}

TEST_CASE("cuts keep exactly the tokens that a full sort keeps") {
  std::mt19937 random(7);
  const auto any = [&] { return std::uniform_real_distribution<float>(0, 1)(random); };
  for (int round = 0; round < 200; ++round) {
    const std::vector<float> logits = random_logits(random, 300, 0.5f + 3 * any());
    Sampling s{.temperature = 0.3f + any(), .seed = random()};
    if (round % 2 == 0) s.top_p = 0.05f + 0.94f * any();
    if (round % 3 == 0) s.top_k = 1 + static_cast<int32_t>(random() % 310);
    if (round % 5 == 0) s.min_p = 0.2f * any();
    const std::set<int32_t> want = allowed(s, logits);
    CAPTURE(round);
    std::set<int32_t> got;
    for (s.index = 0; s.index < 300; ++s.index) got.insert(draw(s, logits));
    CHECK(std::includes(want.begin(), want.end(), got.begin(), got.end()));
    // The likeliest token cannot hide for long: the set is not empty or shifted.
    if (want.size() == 1) CHECK(got == want);
  }
}

TEST_CASE("tokens are drawn as often as their probability says, with and without cuts") {
  std::mt19937 random(11);
  const std::vector<float> logits = random_logits(random, 40, 1.5f);
  for (const Sampling& s : {Sampling{.temperature = 0.8f, .seed = 5},
                            Sampling{.temperature = 1.2f, .top_p = 0.8f, .seed = 6},
                            Sampling{.temperature = 1.0f, .min_p = 0.1f, .seed = 7},
                            Sampling{.temperature = 1.0f, .top_k = 7, .seed = 8}}) {
    const std::vector<double> p = softmax(logits, s.temperature);
    const std::set<int32_t> kept = allowed(s, logits);
    double total = 0;
    for (const int32_t id : kept) total += p[id];
    const std::map<int32_t, int> counts = histogram(s, logits);
    CHECK(counts.size() <= kept.size());
    for (const int32_t id : kept) {
      const double want = p[id] / total * kDraws;
      const auto found = counts.find(id);
      const double got = found == counts.end() ? 0 : found->second;
      CHECK(std::abs(got - want) < 5 * std::sqrt(want) + 3);
    }
  }
}

TEST_CASE("every token of a large vocabulary can be drawn, the last one too") {
  std::vector<float> logits(5000, 0.0f);
  logits.back() = 12;
  std::map<int32_t, int> counts = histogram({.temperature = 1, .seed = 1}, logits);
  CHECK(counts[4999] > kDraws / 2);
  CHECK(counts.size() > 100);
  CHECK(draw({.temperature = 1, .top_p = 0.999f, .seed = 1}, logits) >= 0);
}

TEST_CASE("penalties look at what was sampled, repetition at the prompt too") {
  TokenHistory history;
  for (const int token : {2, 0, 2}) history.add_prompt(token);
  for (const int token : {1, 2, 1}) history.add_sampled(token);
  std::vector<float> logits{2, 2, -2, 2};
  apply_penalties({.presence = 0.5f, .frequency = 0.25f, .repetition = 2}, history, logits);
  CHECK(logits == std::vector<float>{1, 1 - 0.5f - 0.5f, -4 - 0.5f - 0.25f, 2});
}

TEST_CASE("log probabilities are those of the raw logits, the likeliest first") {
  std::mt19937 random(3);
  std::vector<float> logits = random_logits(random, 1000, 3);
  logits[900] = logits[100] = 20;
  const LogSoftmax logprobs(logits, peak(logits).value, kGenericKernels.weight_sum);
  const std::vector<double> p = softmax(logits, 1);
  for (const int id : {0, 100, 999})
    CHECK(logprobs.of(id) == doctest::Approx(std::log(p[id])).epsilon(1e-5));
  std::vector<int32_t> tokens(20);
  std::vector<float> values(20);
  logprobs.top(20, tokens.data(), values.data());
  const std::vector<int32_t> order = ranked(logits);
  CHECK(std::equal(tokens.begin(), tokens.end(), order.begin()));
  CHECK(values[0] == logprobs.of(100));
  CHECK(std::is_sorted(values.rbegin(), values.rend()));
}

}  // namespace smore
