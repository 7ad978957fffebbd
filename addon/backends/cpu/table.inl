// The functions above as the table of this file's instruction set.

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

constexpr IntegerKernels kIntegerProducts = {.row_unit = Simd::kRowTile,
                                             .quantize = quantize,
                                             .product = integer_product,
                                             .exercise = exercise_integer};
static_assert(kRowUnit % Simd::kRowTile == 0);

constexpr CpuKernels make_table(const char* name, const Bf16Kernels* bf16, const CodeKernels* codes,
                                const AttentionKernels* attention = &kAttention<FloatForm<true>>) {
  return {
      .name = name,
      .integer = &kIntegerProducts,
      .float_product = float_product,
      .bf16 = bf16,
      .codes = codes,
      .dense = dense,
      .exercise = exercise_float,
      .rms_norm = rms_norm,
      .rotate = rotate,
      .attention = attention,
      .float_attention = &kAttention<FloatForm<false>>,
      .gated_activation = gated_activation,
      .add = add,
      .softcap = softcap,
      .weight_sum = weight_sum,
  };
}

}  // namespace
}  // namespace smore
