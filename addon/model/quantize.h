#pragma once

#include <cstdint>
#include <vector>

#include "core/thread_pool.h"
#include "model/source.h"

namespace smore {

// --quantize: the block format to which matrices stored as F32, F16 or BF16 are brought while
// loading.
enum class Quantize { kNone, kQ8_0, kQ4_0 };

// Rows of `columns` values (a multiple of 32) as GGUF blocks, rounded as llama.cpp rounds them.
void quantize_q8_0(const float* values, int64_t columns, void* blocks);
void quantize_q4_0(const float* values, int64_t columns, void* blocks);

// The type in which a matrix stored as `stored` is packed: matrices that are quantised already, and
// those whose columns do not fill blocks of 32, stay as they are. Embedding and output
// (`vocabulary`) become Q8_0 also under Q4_0: four bits cost most there.
DType quantized_dtype(const TensorView& stored, Quantize target, bool vocabulary);

// A matrix and, when it was converted, the bytes that its view points to.
struct QuantizedMatrix {
  MatrixSource matrix;
  std::vector<uint8_t> bytes;
};

// Converts a matrix of F32, F16 or BF16 to Q8_0 or Q4_0. Throws Error(kInvalidModel) naming the
// tensor when a value is too large for the scale of a block, which is a half.
QuantizedMatrix quantize(const MatrixSource& matrix, DType target, ThreadPool& threads);

}  // namespace smore
