#pragma once

#include <cstddef>
#include <cstdint>

namespace smore {

// Types of stored tensors. Quantised ones are GGUF's block formats, byte for byte.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kI32,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

// One row of the table: a block of `block` consecutive columns takes `bytes` bytes.
struct DTypeInfo {
  const char* name;  // as GGUF and safetensors print it: "Q4_0", "BF16"
  int block;
  int bytes;
};

const DTypeInfo& dtype_info(DType dtype);

// Bytes of a row of `columns` values. Requires columns % block == 0.
inline size_t row_bytes(DType dtype, int64_t columns) {
  const DTypeInfo& info = dtype_info(dtype);
  return static_cast<size_t>(columns / info.block) * static_cast<size_t>(info.bytes);
}

// Writes `count` values starting at a block border of `source` as float32: the slow reference for
// every format; kernels are tested against it. `source` needs no alignment.
void to_float(DType dtype, const void* source, int64_t count, float* target);

// Index of the first of `count` values that is infinite or NaN (of a block format: the first value
// of a block with such a scale); -1 when all are finite. Runs at the speed of memory.
int64_t first_non_finite(DType dtype, const void* source, int64_t count);

// The same of the float32 values that are not finite as bfloat16.
int64_t first_beyond_bfloat16(const void* floats, int64_t count);

float half_to_float(uint16_t half);
uint16_t float_to_half(float value);  // round to nearest even
float bfloat16_to_float(uint16_t bits);
uint16_t float_to_bfloat16(float value);  // round to nearest even; NaN stays NaN

}  // namespace smore
