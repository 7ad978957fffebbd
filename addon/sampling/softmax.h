#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace smore {

inline constexpr float kLeastExponent = -87.0f;

// e^x for kLeastExponent <= x <= 0, to two units in the last place. Straight-line, so that loops
// over it vectorise on every machine and give the same bits.
inline float exp_in_range(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound) + 127;
  return p * std::bit_cast<float>(exponent << 23);
}

// e^x for x <= 0; where that is next to nothing, e^kLeastExponent.
inline float exp_of_negative(float x) {
  return exp_in_range(x < kLeastExponent ? kLeastExponent : x);
}

struct Peak {
  float value = 0;
  bool finite = false;  // no NaN and no infinity among the logits
};

// The largest logit, and whether all of them are numbers.
Peak peak(std::span<const float> logits);

// Lowest index whose value is `value`, which must occur.
int32_t first_index_of(std::span<const float> logits, float value);

// sum of exp((logit - max) * scale), in one order whatever the machine.
double exp_sum(std::span<const float> logits, float max, float scale);

// Log softmax of chosen tokens of one row.
class LogSoftmax {
 public:
  // Requires finite logits, which must outlive this object.
  LogSoftmax(std::span<const float> logits, float max);

  float of(int32_t token) const;

  // The `count` likeliest tokens, falling; equal ones by rising id.
  void top(int count, int32_t* tokens, float* logprobs) const;

 private:
  std::span<const float> logits_;  // V
  float log_sum_;
};

}  // namespace smore
