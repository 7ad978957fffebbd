#include "backends/cpu/rotary_table.h"

#include <cmath>
#include <numbers>

namespace smore {
namespace {

// Llama 3.1's scaling: long waves are stretched, short ones kept, those between are blended.
double llama3_frequency(double frequency, const RopeScaling& scaling) {
  const double wave = 2 * std::numbers::pi / frequency;
  const double low_wave = scaling.original_max_position / double{scaling.low_freq_factor};
  const double high_wave = scaling.original_max_position / double{scaling.high_freq_factor};
  if (wave < high_wave) return frequency;
  if (wave > low_wave) return frequency / scaling.factor;
  const double blend = (scaling.original_max_position / wave - scaling.low_freq_factor) /
                       (double{scaling.high_freq_factor} - scaling.low_freq_factor);
  return (1 - blend) * frequency / scaling.factor + blend * frequency;
}

double rotary_frequency(const ModelConfig& config, int pair) {
  double frequency = std::pow(double{config.rope_theta}, -2.0 * pair / config.head_dim);
  if (!config.rope_factors.empty()) frequency /= config.rope_factors[pair];
  switch (config.rope_scaling.kind) {
    case RopeScalingKind::kNone:
      return frequency;
    case RopeScalingKind::kLinear:
      return frequency / config.rope_scaling.factor;
    case RopeScalingKind::kLlama3:
      return llama3_frequency(frequency, config.rope_scaling);
  }
  return frequency;
}

}  // namespace

CpuRotaryTable::CpuRotaryTable(const ModelConfig& config, int positions)
    : positions_(positions), half_dim_(config.head_dim / 2) {
  const size_t count = static_cast<size_t>(positions) * half_dim_;
  cosines_.reserve(count);
  sines_.reserve(count);
  for (int position = 0; position < positions; ++position) {
    for (int pair = 0; pair < half_dim_; ++pair) {
      const double angle = position * rotary_frequency(config, pair);
      cosines_.push_back(static_cast<float>(std::cos(angle)));
      sines_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

}  // namespace smore
