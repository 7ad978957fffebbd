#pragma once

#include <cstdint>
#include <span>

#include "sampling/history.h"

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

// Draws one token. Temperature comes first; then min_p, top_k and top_p cut, each renormalised over
// what the one before it left. A pure function of its arguments. `logits` must be finite; `max` is
// the largest of them.
int32_t sample(const Sampling& sampling, std::span<const float> logits, float max);

}  // namespace smore
