#include "sampling/softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/check.h"
#include "engine/step.h"

namespace smore {

namespace {

// Independent accumulators: wide enough for any vector unit, and the order of additions is fixed.
constexpr size_t kLanes = 16;

}  // namespace

Peak peak(std::span<const float> logits) {
  std::array<float, kLanes> best;
  std::array<float, kLanes> poison{};  // x * 0 is 0 for numbers, NaN for everything else
  best.fill(-INFINITY);
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const float x = logits[i + j];
      best[j] = x > best[j] ? x : best[j];
      poison[j] += x * 0.0f;
    }
  }
  for (size_t i = whole; i < logits.size(); ++i) {
    best[0] = std::max(best[0], logits[i]);
    poison[0] += logits[i] * 0.0f;
  }
  bool finite = true;
  for (const float p : poison) finite = finite && p == 0.0f;
  return {*std::max_element(best.begin(), best.end()), finite};
}

int32_t first_index_of(std::span<const float> logits, float value) {
  const auto found = std::find(logits.begin(), logits.end(), value);
  SMORE_CHECK(found != logits.end(), "the largest logit is not among the logits");
  return static_cast<int32_t>(found - logits.begin());
}

double exp_sum(std::span<const float> logits, float max, float scale) {
  std::array<float, kLanes> sums{};
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) sums[j] += exp_of_negative((logits[i + j] - max) * scale);
  }
  double total = 0;
  for (const float sum : sums) total += sum;
  for (size_t i = whole; i < logits.size(); ++i) {
    total += exp_of_negative((logits[i] - max) * scale);
  }
  return total;
}

LogSoftmax::LogSoftmax(std::span<const float> logits, float max)
    : logits_(logits), log_sum_(max + static_cast<float>(std::log(exp_sum(logits, max, 1.0f)))) {}

float LogSoftmax::of(int32_t token) const { return logits_[token] - log_sum_; }

void LogSoftmax::top(int count, int32_t* tokens, float* logprobs) const {
  SMORE_CHECK(count <= kMaxTopLogprobs, "more top logprobs than the arrays of a step hold");
  // Insertion into a short sorted list: after the first few tokens almost none passes the test.
  std::array<std::pair<float, int32_t>, kMaxTopLogprobs> best;
  int filled = 0;
  const int32_t vocab = static_cast<int32_t>(logits_.size());
  for (int32_t id = 0; id < vocab && count > 0; ++id) {
    const float logit = logits_[id];
    if (filled == count && logit <= best[filled - 1].first) continue;
    int at = filled < count ? filled++ : filled - 1;
    for (; at > 0 && logit > best[at - 1].first; --at) best[at] = best[at - 1];
    best[at] = {logit, id};
  }
  for (int i = 0; i < filled; ++i) {
    tokens[i] = best[i].second;
    logprobs[i] = best[i].first - log_sum_;
  }
}

}  // namespace smore
