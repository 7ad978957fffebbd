#include "model/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>

#include "core/dtype.h"
#include "core/error.h"

namespace smore {

namespace {

constexpr int kBlock = 32;

constexpr float kLargestHalf = 65504;

// Stores the scale of a block. Returns what values are multiplied by to be counted in it: 0 where
// it is too small for its type, so that all of the block reads as 0.
float put_scale(float scale, uint8_t* target) {
  const uint16_t half = float_to_half(scale);
  std::memcpy(target, &half, sizeof(half));
  return half_to_float(half) == 0 ? 0 : 1.0f / scale;
}

void require_scales(const TensorView& tensor, std::span<const float> values, DType target) {
  const float most = kLargestHalf * (target == DType::kQ8_0 ? 127.0f : 8.0f);
  for (const float value : values) {
    if (std::fabs(value) <= most) continue;
    throw Error(ErrorCode::kInvalidModel,
                "tensor " + tensor.name + ": holds " + std::to_string(value) + ", and " +
                    dtype_info(target).name + " ends at " + std::to_string(most) +
                    "; serve it without --quantize");
  }
}

}  // namespace

void quantize_q8_0(const float* values, int64_t columns, void* blocks) {
  uint8_t* out = static_cast<uint8_t*>(blocks);
  for (const float* block = values; block < values + columns; block += kBlock) {
    float largest = 0;
    for (int i = 0; i < kBlock; ++i) largest = std::max(largest, std::fabs(block[i]));
    const float inverse = put_scale(largest / 127.0f, out);
    out += sizeof(uint16_t);
    for (int i = 0; i < kBlock; ++i) {
      *out++ = static_cast<uint8_t>(static_cast<int8_t>(std::round(block[i] * inverse)));
    }
  }
}

void quantize_q4_0(const float* values, int64_t columns, void* blocks) {
  uint8_t* out = static_cast<uint8_t*>(blocks);
  for (const float* block = values; block < values + columns; block += kBlock) {
    // The value farthest from zero becomes -8, the one level that has no opposite.
    const float farthest = *std::max_element(
        block, block + kBlock, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    const float inverse = put_scale(farthest / -8.0f, out);
    out += sizeof(uint16_t);
    const auto level = [&](float v) {
      return static_cast<uint8_t>(std::min(15, static_cast<int>(v * inverse + 8.5f)));
    };
    for (int i = 0; i < kBlock / 2; ++i) {
      *out++ = static_cast<uint8_t>(level(block[i]) | level(block[i + kBlock / 2]) << 4);
    }
  }
}

DType quantized_dtype(const TensorView& stored, Quantize target, bool vocabulary) {
  const bool wide =
      stored.dtype == DType::kF32 || stored.dtype == DType::kF16 || stored.dtype == DType::kBF16;
  if (target == Quantize::kNone || !wide || stored.columns() % kBlock != 0) return stored.dtype;
  return target == Quantize::kQ8_0 || vocabulary ? DType::kQ8_0 : DType::kQ4_0;
}

QuantizedMatrix quantize(const MatrixSource& matrix, DType target, ThreadPool& threads) {
  const TensorView& from = matrix.tensor;
  const int64_t columns = from.columns();
  const int64_t rows = from.elements() / columns;
  const size_t from_row = row_bytes(from.dtype, columns);
  const size_t to_row = row_bytes(target, columns);
  QuantizedMatrix result{matrix, std::vector<uint8_t>(rows * to_row)};
  constexpr int64_t kRowsPerChunk = 64;
  threads.for_each((rows + kRowsPerChunk - 1) / kRowsPerChunk, [&](int64_t chunk) {
    std::vector<float> values(columns);
    const int64_t end = std::min(rows, (chunk + 1) * kRowsPerChunk);
    for (int64_t row = chunk * kRowsPerChunk; row < end; ++row) {
      const uint8_t* source = static_cast<const uint8_t*>(from.data) + row * from_row;
      uint8_t* out = result.bytes.data() + row * to_row;
      to_float(from.dtype, source, columns, values.data());
      require_scales(from, values, target);
      target == DType::kQ8_0 ? quantize_q8_0(values.data(), columns, out)
                             : quantize_q4_0(values.data(), columns, out);
    }
  });
  result.matrix.tensor.data = result.bytes.data();
  result.matrix.tensor.dtype = target;
  return result;
}

}  // namespace smore
