#include "backends/matrix_source.h"

#include <string>

#include "core/error.h"

namespace smore {

void check_matrix_source(const MatrixSource& source, int64_t columns) {
  const TensorView& t = source.tensor;
  const std::string what = t.name + " " + shape_text(t);
  if (t.rank != 2)
    throw Error(ErrorCode::kInvalidModel, what + ": a linear's weight has two dimensions");
  if (t.shape[1] != columns) {
    throw Error(ErrorCode::kInvalidModel,
                what + ": expected " + std::to_string(columns) +
                    " columns, like the weights that read the same input");
  }
  if (t.dtype == DType::kI32) {
    throw Error(ErrorCode::kUnsupported,
                what + ": type I32; a linear's weight is of a float or quantised type");
  }
  if (source.interleaved_heads != 0 && t.shape[0] % (2 * source.interleaved_heads) != 0) {
    throw Error(ErrorCode::kInvalidModel, what + ": rows do not divide into " +
                                              std::to_string(source.interleaved_heads) +
                                              " heads of even size");
  }
}

int64_t source_row(const MatrixSource& source, int64_t out) {
  if (source.interleaved_heads == 0) return out;
  const int64_t head_dim = source.tensor.shape[0] / source.interleaved_heads;
  const int64_t half = head_dim / 2;
  const int64_t within = out % head_dim;
  return out - within + (within < half ? 2 * within : 2 * (within - half) + 1);
}

}  // namespace smore
