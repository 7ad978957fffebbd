#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace smore {

inline constexpr float kLeastExponent = -87.0f;

// e^x for kLeastExponent <= x <= 0, to two units in the last place. Straight-line, so that loops
// over it vectorise on every machine and give the same bits.
constexpr float exp_in_range(float x) {
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

// Probabilities are summed as integers: exact whatever the order, so that every backend and every
// batch agrees on each sum and each draw. 2^40 is the likeliest token's; what is less than half a
// unit has no share. The sum of 2^23 tokens fits.
inline constexpr float kOne = 0x1p40f;

// e^x for -87 <= x <= 0 in units of 1 / kOne, rounded to the nearest: where a double is 2^52 / kOne
// and little more, its last bits count these units.
inline constexpr double kUnits = 0x1p52 / kOne;
constexpr uint64_t in_units(float value) {
  return std::bit_cast<uint64_t>(value + kUnits) - std::bit_cast<uint64_t>(kUnits);
}

// The share of a token: exp((logit - max) * scale). 0 for a logit of -INFINITY.
constexpr float likelihood(float logit, float max, float scale) {
  const float x = (logit - max) * scale;
  return exp_in_range(x > kLeastExponent ? x : kLeastExponent);
}
constexpr uint64_t weight(float logit, float max, float scale) {
  return in_units(likelihood(logit, max, scale));
}

// The point at which a uniform number in [0, 1) lies on the way from 0 to `total`.
constexpr uint64_t share_of(uint64_t total, double uniform) {
  return static_cast<uint64_t>(
      static_cast<unsigned __int128>(static_cast<uint64_t>(uniform * 0x1p53)) * total >> 53);
}

struct Peak {
  float value = 0;
  bool finite = false;  // no NaN and no infinity among the logits
};

// The largest logit, and whether all of them are numbers.
Peak peak(std::span<const float> logits);

// Lowest index whose value is `value`, which must occur.
int32_t first_index_of(std::span<const float> logits, float value);

// Sums the weights of `count` tokens. Functions of this type differ in nothing but speed.
using WeightSum = uint64_t (*)(const float* logits, int64_t count, float max, float scale);

// What is subtracted from a logit to get its log probability, of the sum of all weights by the
// largest logit and scale 1.
float log_normaliser(float max, uint64_t total);

// Log softmax of chosen tokens of one row.
class LogSoftmax {
 public:
  // Requires finite logits, which must outlive this object.
  LogSoftmax(std::span<const float> logits, float max, WeightSum weight_sum);

  float of(int32_t token) const;

  // The `count` likeliest tokens, falling; equal ones by rising id.
  void top(int count, int32_t* tokens, float* logprobs) const;

 private:
  std::span<const float> logits_;  // V
  float log_sum_;
};

}  // namespace smore
