#pragma once

#include <vector>

#include "backends/backend.h"

namespace smore {

class CpuRotaryTable final : public RotaryTable {
 public:
  CpuRotaryTable(const ModelConfig& config, int positions);

  int positions() const { return positions_; }
  int half_dim() const { return half_dim_; }
  const float* cosines(int position) const {
    return cosines_.data() + int64_t{position} * half_dim_;
  }
  const float* sines(int position) const { return sines_.data() + int64_t{position} * half_dim_; }

 private:
  int positions_;
  int half_dim_;
  std::vector<float> cosines_;  // positions, d / 2
  std::vector<float> sines_;    // positions, d / 2
};

}  // namespace smore
