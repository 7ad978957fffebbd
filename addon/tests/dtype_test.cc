#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/tensor.h"
#include "io/gguf.h"

namespace smore {
namespace {

const TensorView& tensor(const GgufFile& file, const std::string& name) {
  for (const TensorView& tensor : file.content.tensors) {
    if (tensor.name == name) return tensor;
  }
  FAIL("no tensor ", name);
  return file.content.tensors[0];
}

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

}  // namespace

TEST_CASE("every stored format reads as the format's reference implementation reads it") {
  const GgufFile file = open_gguf(SMORE_FIXTURES "/gguf/formats.gguf");
  for (const char* name :
       {"F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"}) {
    CAPTURE(name);
    const TensorView stored = tensor(file, name);
    CHECK(dtype_info(stored.dtype).name == std::string(name));
    const std::vector<float> got = to_floats(stored);
    const std::vector<float> want = to_floats(tensor(file, std::string(name) + ".values"));
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      REQUIRE(std::abs(got[i] - want[i]) <= 1e-6f * std::abs(want[i]) + 1e-7f);
    }
  }
}

TEST_CASE("a value survives the way from half to float and back") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = half_to_float(half);
    if (std::isnan(value)) {
      REQUIRE(std::isnan(half_to_float(float_to_half(value))));
    } else {
      REQUIRE(float_to_half(value) == half);
    }
  }
}

TEST_CASE("halves round to the nearest, ties to even") {
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = half_to_float(half);
    const float high = half_to_float(half + 1);
    const float middle = low + (high - low) / 2;
    REQUIRE(float_to_half(middle) == half + half % 2);
    REQUIRE(float_to_half(std::nextafter(middle, low)) == half);
    REQUIRE(float_to_half(std::nextafter(middle, high)) == half + 1);
    REQUIRE(float_to_half(-std::nextafter(middle, high)) == (0x8000 | (half + 1)));
  }
  CHECK(float_to_half(65519.9f) == 0x7bff);
  CHECK(float_to_half(65520.0f) == 0x7c00);
  CHECK(float_to_half(kInfinity) == 0x7c00);
  CHECK(float_to_half(1e-30f) == 0);
}

TEST_CASE("bfloat16 rounds to the nearest, ties to even, and keeps NaN") {
  CHECK(float_to_bfloat16(1.0f) == 0x3f80);
  CHECK(float_to_bfloat16(1.00390625f) == 0x3f80);
  CHECK(float_to_bfloat16(1.01171875f) == 0x3f82);
  CHECK(float_to_bfloat16(std::nextafter(1.00390625f, 2.0f)) == 0x3f81);
  CHECK(float_to_bfloat16(-kInfinity) == 0xff80);
  CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(kNaN))));
}

TEST_CASE("the first value that is not finite is found wherever it is") {
  std::vector<float> values(10000, 1e30f);
  CHECK(first_non_finite(DType::kF32, values.data(), 10000) == -1);
  for (const int at : {0, 1, 4095, 4096, 9999}) {
    for (const float bad : {kInfinity, -kInfinity, kNaN}) {
      values[at] = bad;
      CHECK(first_non_finite(DType::kF32, values.data(), 10000) == at);
      CHECK(first_non_finite(DType::kF32, values.data(), at) == -1);
      values[at] = 0;
    }
  }
  std::vector<uint16_t> halves(5000, 0x7bff);
  CHECK(first_non_finite(DType::kF16, halves.data(), 5000) == -1);
  halves[4999] = 0xfc00;
  CHECK(first_non_finite(DType::kF16, halves.data(), 5000) == 4999);
  CHECK(first_non_finite(DType::kBF16, halves.data(), 5000) == -1);
  halves[7] = 0x7f80;
  CHECK(first_non_finite(DType::kBF16, halves.data(), 5000) == 7);
}

TEST_CASE("the first value beyond bfloat16 is the first that rounds to infinity") {
  for (const uint32_t bits : {0x7f7f7fffu, 0x7f7f8000u, 0xff7f7fffu, 0xff7f8000u, 0x7f800000u}) {
    std::vector<float> values(5000, bfloat16_to_float(0x7f7f));
    values[4998] = std::bit_cast<float>(bits);
    const bool beyond = !std::isfinite(bfloat16_to_float(float_to_bfloat16(values[4998])));
    CHECK(first_beyond_bfloat16(values.data(), 5000) == (beyond ? 4998 : -1));
  }
}

TEST_CASE("a scale that is not finite is found in every block format") {
  struct Scale {
    DType dtype;
    int offset;
  };
  for (const auto& [dtype, offset] :
       {Scale{DType::kQ8_0, 0}, Scale{DType::kQ4_0, 0}, Scale{DType::kQ4_1, 0},
        Scale{DType::kQ4_1, 2}, Scale{DType::kQ5_0, 0}, Scale{DType::kQ5_1, 2},
        Scale{DType::kQ4_K, 0}, Scale{DType::kQ4_K, 2}, Scale{DType::kQ5_K, 2},
        Scale{DType::kQ6_K, 208}}) {
    const DTypeInfo& info = dtype_info(dtype);
    CAPTURE(info.name);
    std::vector<uint8_t> blocks(static_cast<size_t>(info.bytes) * 3, 0x55);
    CHECK(first_non_finite(dtype, blocks.data(), info.block * 3) == -1);
    const uint16_t bad = 0x7e00;
    std::memcpy(blocks.data() + 2 * info.bytes + offset, &bad, 2);
    CHECK(first_non_finite(dtype, blocks.data(), info.block * 3) == info.block * 2);
  }
}

TEST_CASE("shapes print as lists") {
  TensorView view;
  view.rank = 2;
  view.shape = {576, 1536, 1, 1};
  CHECK(shape_text(view) == "[576, 1536]");
}

}  // namespace smore
