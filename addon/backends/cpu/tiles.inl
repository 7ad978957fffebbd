// What every product needs of Simd: partial vectors of outputs, and tiles of rows.

#pragma once

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

using F = Simd::F;
using I = Simd::I;

// Stores what belongs to the outputs of a part; the last panel of a matrix may be narrower.
inline void store_outputs(float* y, F value, int outs) {
  if (outs >= Simd::N) {
    Simd::store(y, value);
  } else if (outs > 0) {
    Simd::store_part(y, value, outs);
  }
}

inline F load_outputs(const float* y, int outs) {
  if (outs >= Simd::N) return Simd::load(y);
  return outs > 0 ? Simd::load_part(y, outs) : Simd::zero();
}

// Runs tile.operator()<n>(row) over [begin, end): `most` rows at a time, and the rest at once or in
// halves of that.
template <int most, class Tile>
[[gnu::always_inline]] inline void for_row_tiles(int begin, int end, Tile&& tile) {
  int row = begin;
  for (; row + most <= end; row += most) tile.template operator()<most>(row);
  if constexpr (most == 4) {
    if (row + 3 == end) return tile.template operator()<3>(row);
  }
  if constexpr (most > 1) for_row_tiles<most / 2>(row, end, tile);
}

}  // namespace
}  // namespace smore
