#pragma once

#include <cstdint>

namespace smore {

// One uniform number in [0, 1) as a pure function of (seed, index): there is no state to carry, so
// a token may be sampled again, on another slot or in another batch, with the same outcome.
inline double uniform_at(uint64_t seed, uint64_t index) {
  // Two rounds of SplitMix64's finaliser, the second keyed by the first.
  const auto mix = [](uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  };
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  const uint64_t bits = mix(mix(seed + kGolden) + (index + 1) * kGolden);
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

}  // namespace smore
