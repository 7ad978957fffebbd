#pragma once

#include <cstdint>
#include <span>

#include "engine/step.h"
#include "sampling/history.h"
#include "sampling/softmax.h"

namespace smore {

struct Penalties {
  float presence = 0;   // subtracted once from every token sampled before
  float frequency = 0;  // subtracted for every time a token was sampled
  float repetition =
      1;  // divides positive and multiplies negative logits of prompt and sampled tokens
};

void apply_penalties(const Penalties& penalties, const TokenHistory& history,
                     std::span<float> logits);

struct Sampling {
  float temperature = 0;  // 0 = greedy: the likeliest token, the lowest id among equals
  float top_p = 1;        // 1 = off
  float min_p = 0;        // 0 = off
  int32_t top_k = 0;      // 0 = off
  uint64_t seed = 0;
  uint64_t index = 0;  // of the token in its generation; with seed the whole state of the generator
};

// Below it the likeliest token has all of the probability, and dividing by it would overflow.
inline constexpr float kGreedyBelow = 1e-5f;
inline bool is_greedy(const Sampling& sampling) { return sampling.temperature < kGreedyBelow; }

// Of sequence b of a step.
Sampling sampling_of(const StepInput& step, int b);

// How far a logit may be below the largest: min_p as a difference of logits, -INFINITY when off.
float min_p_margin(const Sampling& sampling);

// What a nucleus weighs at least, of tokens that weigh `total` together.
constexpr uint64_t nucleus_mass(float top_p, uint64_t total) {
  const double mass = static_cast<double>(top_p) * static_cast<double>(total);
  const auto whole = static_cast<uint64_t>(mass);
  return whole + (static_cast<double>(whole) < mass || whole == 0 ? 1 : 0);
}

// Draws one token. Temperature comes first; then min_p, top_k and top_p cut, each renormalised over
// what the one before it left; of equal logits those of lower ids stay. Among what is left, by
// rising id, it is the first token whose weights so far (softmax.h) exceed the uniform number's
// share of all. A pure function of its arguments, and the same on every backend: it sums integers.
// `logits` must be finite; `max` is the largest of them.
int32_t sample(const Sampling& sampling, std::span<const float> logits, float max,
               WeightSum weight_sum);

}  // namespace smore
