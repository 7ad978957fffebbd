#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace smore {

// 32 consecutive values of a quantised row, whatever the format: value = scale * (code - offset) or
// scale * code + minimum, as pack.cc and the kernels read them.
struct SourceBlock {
  uint8_t codes[32];      // unsigned, before any offset; Q8_0: the bits of an int8
  uint16_t scale = 0;     // float16
  uint16_t minimum = 0;   // float16; K-quants: of the super-block, and it is subtracted
  uint8_t small[2] = {};  // Q4_K, Q5_K: 6-bit scale and minimum; Q6_K: int8 scale of each half
};

// Reads block `block` of a row stored as `dtype` (one of the quantised types).
SourceBlock read_block(DType dtype, const uint8_t* row, int64_t block);

}  // namespace smore
