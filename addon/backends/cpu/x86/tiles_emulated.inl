// The tiles of tiles_amx.inl in plain C++, so that what is built on them is tested on every
// machine.

#include <cstdint>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

class Tiles {
 public:
  static constexpr int kSize = 16;

  template <int groups>
  void product(const int8_t* values, const int8_t* codes, int32_t* sums) const {
    for (int row = 0; row < kSize; ++row) {
      for (int out = 0; out < kSize; ++out) {
        int32_t sum = 0;
        for (int k = 0; k < 4 * groups; ++k) {
          sum += values[row * kBlock + k] * codes[(k / 4 * kSize + out) * 4 + k % 4];
        }
        sums[row * kSize + out] = sum;
      }
    }
  }
};

}  // namespace
}  // namespace smore
