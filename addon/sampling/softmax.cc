#include "sampling/softmax.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "engine/step.h"

namespace smore {

namespace {

// Independent accumulators: wide enough for any vector unit, and the order of additions is fixed.
constexpr size_t kLanes = 16;
// The compiler keeps a few of these in registers, which it does not do with an array of floats.
typedef float Quad __attribute__((vector_size(16)));

}  // namespace

Peak peak(std::span<const float> logits) {
  std::array<Quad, kLanes / 4> best;
  std::array<Quad, kLanes / 4> poison{};  // x * 0 is 0 for numbers, NaN for everything else
  best.fill(Quad{} - INFINITY);
  const size_t whole = logits.size() / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t j = 0; j < best.size(); ++j) {
      Quad x;
      std::memcpy(&x, &logits[i + 4 * j], sizeof x);
      best[j] = x > best[j] ? x : best[j];
      poison[j] += x * 0.0f;
    }
  }
  float most = -INFINITY;
  float sum = 0;
  for (size_t j = 0; j < kLanes; ++j) {
    most = std::max(most, best[j / 4][j % 4]);
    sum += poison[j / 4][j % 4];
  }
  for (const float x : logits.subspan(whole)) {
    most = std::max(most, x);
    sum += x * 0.0f;
  }
  return {most, sum == 0.0f};
}

int32_t first_index_of(std::span<const float> logits, float value) {
  constexpr size_t kBlock = 64;
  size_t begin = 0;
  for (; begin + kBlock <= logits.size(); begin += kBlock) {
    int32_t found = 0;
    for (size_t j = 0; j < kBlock; ++j) found |= logits[begin + j] == value ? 1 : 0;
    if (found != 0) break;
  }
  const auto at = std::find(logits.begin() + static_cast<int64_t>(begin), logits.end(), value);
  SMORE_CHECK(at != logits.end(), "the largest logit is not among the logits");
  return static_cast<int32_t>(at - logits.begin());
}

float log_normaliser(float max, uint64_t total) {
  return max + static_cast<float>(std::log(static_cast<double>(total) / kOne));
}

LogSoftmax::LogSoftmax(std::span<const float> logits, float max, WeightSum weight_sum)
    : logits_(logits),
      log_sum_(log_normaliser(
          max, weight_sum(logits.data(), static_cast<int64_t>(logits.size()), max, 1.0f))) {}

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
