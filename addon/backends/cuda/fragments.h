#pragma once

namespace smore::cuda {

// Operands of one product of a warp, in pairs of bfloat16 or float16. With g = lane / 4 and q =
// lane % 4, a lane has of A, [16, 16], rows g and g + 8 at columns 2 q, 2 q + 1 (x[0], x[1]) and at
// 2 q + 8, 2 q + 9 (x[2], x[3]); of B, [16, 8], column g at rows 2 q, 2 q + 1 (x[0]) and 2 q + 8, 2
// q + 9 (x[1]); of C, [16, 8], rows g (x[0], x[1]) and g + 8 (x[2], x[3]) at columns 2 q and 2 q
// + 1.
struct FragmentA {
  unsigned x[4];
};
struct FragmentB {
  unsigned x[2];
};
struct FragmentC {
  float x[4];
};

}  // namespace smore::cuda
