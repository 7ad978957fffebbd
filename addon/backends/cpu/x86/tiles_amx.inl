// AMX: products of int8 tiles by the processor. Asm, since GCC 12's intrinsics do not say which
// memory they read.

#include <cstdint>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

// Sixteen rows of activations times sixteen outputs. The thread keeps its tiles configured as long
// as this lives.
class Tiles {
 public:
  static constexpr int kSize = 16;

  Tiles() { asm volatile("ldtilecfg %0" : : "m"(kConfig)); }
  ~Tiles() { asm volatile("tilerelease"); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

  // sums[row][out] = the products of 4 * groups values of every row, [kSize][kBlock], with the
  // signed codes of every output, [groups][kSize][4].
  template <int groups>
  [[gnu::always_inline]] void product(const int8_t* values, const int8_t* codes,
                                      int32_t* sums) const {
    using Values = const int8_t[kSize * kBlock];
    using Codes = const int8_t[groups * kSize * 4];
    using Sums = int32_t[kSize * kSize];
    constexpr int64_t kLine = 64;
    auto& result = *reinterpret_cast<Sums*>(sums);
    const auto& a = *reinterpret_cast<Values*>(values);
    const auto& b = *reinterpret_cast<Codes*>(codes);
    if constexpr (groups == kBlock / 4) {
      asm volatile(
          "tilezero %%tmm0\n\t"
          "tileloadd (%1,%3,1), %%tmm1\n\t"
          "tileloadd (%2,%4,1), %%tmm2\n\t"
          "tdpbssd %%tmm2, %%tmm1, %%tmm0\n\t"
          "tilestored %%tmm0, (%5,%4,1)"
          : "=m"(result)
          : "r"(values), "r"(codes), "r"(int64_t{kBlock}), "r"(kLine), "r"(sums), "m"(a), "m"(b));
    } else {
      asm volatile(
          "tilezero %%tmm0\n\t"
          "tileloadd (%1,%3,1), %%tmm3\n\t"
          "tileloadd (%2,%4,1), %%tmm4\n\t"
          "tdpbssd %%tmm4, %%tmm3, %%tmm0\n\t"
          "tilestored %%tmm0, (%5,%4,1)"
          : "=m"(result)
          : "r"(values), "r"(codes), "r"(int64_t{kBlock}), "r"(kLine), "r"(sums), "m"(a), "m"(b));
    }
  }

 private:
  // What ldtilecfg reads.
  struct Config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  // Of the tiles: sums; values and codes of a block; values and codes of half a block.
  alignas(64) static constexpr Config kConfig = {
      .palette = 1,
      .start_row = 0,
      .reserved = {},
      .row_bytes = {64, kBlock, 64, kBlock / 2, 64},
      .rows = {kSize, kSize, kBlock / 4, kSize, kBlock / 8},
  };
};

}  // namespace
}  // namespace smore
