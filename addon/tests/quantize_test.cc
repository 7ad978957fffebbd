#include "model/quantize.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "core/dtype.h"
#include "tests/refusal.h"

namespace smore {

namespace {

std::vector<float> random_values(int count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 0.1f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

MatrixSource matrix_of(const std::vector<float>& values, int64_t rows) {
  MatrixSource matrix;
  matrix.tensor = {{.name = "w",
                    .dtype = DType::kF32,
                    .rank = 2,
                    .shape = {rows, static_cast<int64_t>(values.size()) / rows, 1, 1}},
                   values.data()};
  return matrix;
}

}  // namespace

TEST_CASE("quantized blocks are within half a level of the values") {
  ThreadPool threads(2);
  std::vector<float> values = random_values(130 * 96);
  std::fill_n(values.begin(), 32, 0.0f);  // a block without scale
  for (const auto& [dtype, levels] : {std::pair{DType::kQ8_0, 127.0}, {DType::kQ4_0, 8.0}}) {
    const QuantizedMatrix result = quantize(matrix_of(values, 130), dtype, threads);
    CHECK(result.matrix.tensor.dtype == dtype);
    const std::vector<float> back = to_floats(result.matrix.tensor);
    for (size_t block = 0; block < values.size(); block += 32) {
      double largest = 0;
      for (size_t i = block; i < block + 32; ++i) {
        largest = std::max(largest, std::fabs(double{values[i]}));
      }
      // The scale is a half float. Q4_0 has no +8: the value opposite to the farthest one may miss
      // a whole level.
      const double allowed = (dtype == DType::kQ4_0 ? 1.01 : 0.57) * largest / levels;
      for (size_t i = block; i < block + 32; ++i) {
        REQUIRE(std::fabs(back[i] - values[i]) <= allowed);
      }
    }
  }
}

TEST_CASE("values that the format can hold come back as they were") {
  ThreadPool threads(1);
  std::vector<float> values(64);
  for (int i = 0; i < 64; ++i) values[i] = static_cast<float>(i % 16 - 8);
  const QuantizedMatrix result = quantize(matrix_of(values, 2), DType::kQ4_0, threads);
  CHECK(to_floats(result.matrix.tensor) == values);
}

TEST_CASE(
    "what is too large for a block's scale is refused by name, what is too small reads as 0") {
  ThreadPool threads(2);
  for (const auto& [dtype, most] : {std::pair{DType::kQ8_0, 8.3e6f}, {DType::kQ4_0, 5.2e5f}}) {
    std::vector<float> values(3 * 64, 1e-40f);
    values[100] = most;
    const QuantizedMatrix result = quantize(matrix_of(values, 3), dtype, threads);
    std::vector<float> read(values.size());
    to_float(dtype, result.bytes.data(), static_cast<int64_t>(read.size()), read.data());
    CHECK(read[100] == doctest::Approx(most).epsilon(0.01));
    read[100] = 0;
    CHECK(read == std::vector<float>(read.size(), 0.0f));
    // In bytes as well: no code is made of what overflows.
    const uint8_t zeros = dtype == DType::kQ4_0 ? 0x88 : 0;
    const auto codes = result.bytes.begin() + sizeof(uint16_t);
    CHECK(std::count(codes, codes + dtype_info(dtype).bytes - 2, zeros) ==
          dtype_info(dtype).bytes - 2);
    values[100] = -most * 1.02f;
    check_refused(ErrorCode::kInvalidModel, "tensor w: holds -",
                  [&] { quantize(matrix_of(values, 3), dtype, threads); });
  }
}

TEST_CASE("only wide matrices whose columns fill blocks change their type") {
  const std::vector<float> values(64);
  MatrixSource matrix = matrix_of(values, 2);
  CHECK(quantized_dtype(matrix.tensor, Quantize::kNone, false) == DType::kF32);
  CHECK(quantized_dtype(matrix.tensor, Quantize::kQ4_0, false) == DType::kQ4_0);
  CHECK(quantized_dtype(matrix.tensor, Quantize::kQ4_0, true) == DType::kQ8_0);
  CHECK(quantized_dtype(matrix.tensor, Quantize::kQ8_0, false) == DType::kQ8_0);
  CHECK(quantized_dtype(matrix_of(values, 4).tensor, Quantize::kQ8_0, false) == DType::kF32);
  matrix.tensor.dtype = DType::kQ5_0;
  CHECK(quantized_dtype(matrix.tensor, Quantize::kQ4_0, false) == DType::kQ5_0);
}

}  // namespace smore
