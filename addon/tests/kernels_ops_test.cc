#include <cmath>
#include <limits>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/dense.h"
#include "backends/cpu/reference.h"
#include "kernel_cases.h"

namespace smore {
namespace {

using kernel_cases::backend;
using kernel_cases::changed;
using kernel_cases::check_close;
using kernel_cases::for_each_backend;
using kernel_cases::for_each_path;
using kernel_cases::random_floats;
using kernel_cases::random_tensor;
using kernel_cases::Stored;
using kernel_cases::written;

constexpr int kWidths[] = {1, 3, 16, 31, 64, 577};

std::vector<float> norm(Backend& ops, const std::vector<float>& x, const std::vector<float>& weight,
                        int rows) {
  const Buffer from = ops.place(x);
  const Buffer weights = ops.place(weight);
  return written(ops, x.size(), [&](float* to) {
    ops.rms_norm(from.get(), weights.get(), rows, static_cast<int>(weight.size()), 1e-5f, to);
  });
}

TEST_CASE("norms equal the reference") {
  std::mt19937 random(11);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (int width : kWidths) {
      CAPTURE(width);
      const int rows = 40;
      const std::vector<float> x = random_floats(size_t(rows) * width, random);
      const std::vector<float> weight = random_floats(width, random);
      const std::vector<float> y = norm(*ops, x, weight, rows);
      std::vector<double> expected(x.size());
      for (int t = 0; t < rows; ++t) {
        reference::rms_norm(&x[t * width], weight.data(), width, 1e-5f, &expected[t * width]);
      }
      check_close(
          y, expected, [&](size_t i) { return std::abs(expected[i]); }, 1e-6);
    }
  });
}

TEST_CASE("the norm of a sum has the bits of a sum and then a norm, also over what was added") {
  std::mt19937 random(12);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (int width : kWidths) {
      CAPTURE(width);
      const int rows = 5;
      const size_t count = size_t(rows) * width;
      const std::vector<float> x = random_floats(count, random);
      const std::vector<float> y = random_floats(count, random);
      const std::vector<float> weight = random_floats(width, random);
      const Buffer weights = ops->place(weight);
      const Buffer apart = ops->place(y);
      const std::vector<float> sum =
          changed(*ops, x, [&](float* to) { ops->add(to, apart.get(), count); });
      const std::vector<float> want = norm(*ops, sum, weight, rows);
      const Buffer stream = ops->place(x);
      CHECK(changed(*ops, y, [&](float* to) {
              ops->add_and_norm(stream.get(), to, weights.get(), rows, width, 1e-5f, to);
            }) == want);
      CHECK(kernel_cases::on_host(*ops, stream, count) == sum);
    }
  });
}

TEST_CASE("the norm of a row that overflows is not a number, and other rows are unharmed") {
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (const float bad : {3e38f, std::numeric_limits<float>::infinity(), std::nanf("")}) {
      for (int width : kWidths) {
        CAPTURE(width);
        const std::vector<float> weight(width, 1.0f);
        std::vector<float> x(size_t(2) * width, 0.5f);
        x[width - 1] = bad;
        const std::vector<float> y = norm(*ops, x, weight, 2);
        for (int i = 0; i < width; ++i) {
          CHECK(std::isnan(y[i]));
          CHECK(y[width + i] == doctest::Approx(1).epsilon(1e-3));
        }
        std::vector<double> expected(width);
        reference::rms_norm(x.data(), weight.data(), width, 1e-5f, expected.data());
        CHECK(std::isnan(expected[0]));
      }
    }
  });
}

TEST_CASE("gated activations equal the reference, to the ends of their range") {
  std::mt19937 random(12);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      for (int width : kWidths) {
        CAPTURE(width);
        const int rows = 9;
        std::vector<float> gate_up = random_floats(size_t(rows) * 2 * width, random, 4);
        gate_up[0] = 100;
        gate_up[2 * width] = -100;
        const Buffer placed = ops->place(gate_up);
        const std::vector<float> y = written(*ops, size_t(rows) * width, [&](float* to) {
          ops->gated_activation(activation, placed.get(), rows, width, to);
        });
        std::vector<double> expected, norm;
        for (int t = 0; t < rows; ++t) {
          for (int i = 0; i < width; ++i) {
            const double gate = gate_up[t * 2 * width + i];
            const double up = gate_up[t * 2 * width + width + i];
            expected.push_back(reference::activate(activation, gate) * up);
            norm.push_back(std::abs(gate * up));
          }
        }
        check_close(
            y, expected, [&](size_t i) { return norm[i]; }, 1e-6);
      }
    }
  });
}

TEST_CASE("the soft cap equals the reference and keeps NaN") {
  std::mt19937 random(13);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    const std::vector<float> x = random_floats(70001, random, 40);
    std::vector<double> expected;
    for (float value : x) expected.push_back(30 * std::tanh(value / 30.0));
    const auto capped = [&](const std::vector<float>& values) {
      return changed(*ops, values,
                     [&](float* v) { ops->softcap(30, v, static_cast<int64_t>(values.size())); });
    };
    check_close(
        capped(x), expected, [&](size_t i) { return std::abs(expected[i]); }, 1e-6);
    CHECK(std::isnan(capped({NAN})[0]));
  });
}

TEST_CASE("sums of activations are exact") {
  std::mt19937 random(14);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    const std::vector<float> x = random_floats(70003, random);
    const std::vector<float> y = random_floats(x.size(), random);
    std::vector<float> expected(x.size());
    for (size_t i = 0; i < x.size(); ++i) expected[i] = x[i] + y[i];
    const Buffer added = ops->place(y);
    CHECK(changed(*ops, x, [&](float* to) {
            ops->add(to, added.get(), static_cast<int64_t>(y.size()));
          }) == expected);
  });
}

TEST_CASE("rows are gathered to the front of another buffer and of their own") {
  std::mt19937 random(16);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    const int width = 300;
    const std::vector<float> x = random_floats(size_t(90) * width, random);
    std::vector<int32_t> rows{0, 2, 3, 8};
    for (int32_t row = 9; row < 90; row += 2) rows.push_back(row);
    std::vector<float> expected;
    for (int32_t row : rows) {
      expected.insert(expected.end(), x.begin() + row * width, x.begin() + (row + 1) * width);
    }
    const Buffer from = ops->place(x);
    CHECK(written(*ops, expected.size(),
                  [&](float* to) { ops->gather(from.get(), rows, width, to); }) == expected);
    std::vector<float> own = changed(*ops, x, [&](float* to) { ops->gather(to, rows, width, to); });
    own.resize(expected.size());
    CHECK(own == expected);
  });
}

// The bytes of the matrix in panels of outputs (DenseProduct).
std::vector<uint8_t> in_panels(const std::vector<uint8_t>& rows, DType dtype, int out, int in) {
  const size_t size = row_bytes(dtype, 1);
  std::vector<uint8_t> result(size * panel_values(dtype, out, in));
  for (int o = 0; o < out; ++o) {
    for (int k = 0; k < in; ++k) {
      const size_t at = panel_index(dtype, in, o, k);
      std::copy_n(rows.begin() + (size_t(o) * in + k) * size, size, result.begin() + at * size);
    }
  }
  return result;
}

TEST_CASE("dense products equal the reference, row lists, scale and sum included") {
  std::mt19937 random(15);
  for_each_path([&](const std::string& path, ActivationType activations) {
    const auto cpu = backend(path, activations);
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (int in : {1, 8, 33, 576}) {
        const int out = 21, rows = 13, total = 20;
        const Stored w = random_tensor(dtype, out, in, random);
        const std::vector<uint8_t> w_panels = in_panels(w.bytes, dtype, out, in);
        const std::vector<float> x = random_floats(size_t(total) * in, random);
        const std::vector<float> bias = random_floats(out, random);
        const std::vector<int32_t> x_rows{3, 1, 19, 0, 0, 5, 7, 2, 11, 12, 18, 4, 6};
        const std::vector<int32_t> y_rows{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 1, 3, 5};
        const std::vector<float> before = random_floats(size_t(total) * out, random);
        const auto full = reference::matmul(w.floats(), out, in, x, total, bias.data());
        std::vector<double> expected(before.begin(), before.end()), norm(before.size(), 1);
        for (int i = 0; i < rows; ++i) {
          for (int o = 0; o < out; ++o) {
            expected[y_rows[i] * out + o] += 0.5 * full.y[x_rows[i] * out + o];
            norm[y_rows[i] * out + o] += full.magnitude[x_rows[i] * out + o];
          }
        }
        for (bool panels : {false, true}) {
          CAPTURE(panels);
          std::vector<float> y = before;
          dense_rows(dense_kernels(*cpu), {.w = panels ? w_panels.data() : w.bytes.data(),
                                           .dtype = dtype,
                                           .panels = panels,
                                           .out = out,
                                           .in = in,
                                           .bias = bias.data(),
                                           .x = x.data(),
                                           .x_stride = in,
                                           .x_rows = x_rows.data(),
                                           .rows = rows,
                                           .y = y.data(),
                                           .y_stride = out,
                                           .y_rows = y_rows.data(),
                                           .scale = 0.5f,
                                           .accumulate = true});
          check_close(
              y, expected, [&](size_t i) { return norm[i]; }, 1e-6);
        }
      }
    }
  });
}

TEST_CASE("dense products with codes and with rounded rows equal the reference on what they hold") {
  std::mt19937 random(17);
  for_each_path([&](const std::string& path, ActivationType activations) {
    const auto cpu = backend(path, activations);
    const DenseKernels& kernels = dense_kernels(*cpu);
    for (const auto& [in, panels, coded] :
         std::vector<std::tuple<int, bool, bool>>{{1, false, true},
                                                  {1, true, true},
                                                  {33, false, true},
                                                  {33, true, true},
                                                  {33, false, false},
                                                  {33, true, false},
                                                  {576, false, true},
                                                  {576, true, true},
                                                  {576, false, false},
                                                  {576, true, false}}) {
      CAPTURE(in);
      CAPTURE(panels);
      CAPTURE(coded);
      const int out = 21, rows = 13;
      const Stored w = random_tensor(DType::kBF16, out, in, random);
      std::vector<float> values = w.floats(), scales(out, 1.0f);
      std::vector<uint8_t> bytes = panels ? in_panels(w.bytes, DType::kBF16, out, in) : w.bytes;
      if (coded) {
        bytes.assign(panels ? panel_values(DType::kBF16, out, in) : out * code_row_values(in), 0);
        for (int o = 0; o < out; ++o) {
          scales[o] = 0.01f * (1 + o);
          for (int k = 0; k < in; ++k) {
            const int code = static_cast<int>(random() % 255) - 127;
            const int64_t at =
                panels ? panel_index(DType::kBF16, in, o, k) : o * code_row_values(in) + k;
            bytes[at] = static_cast<uint8_t>(code);
            values[size_t(o) * in + k] = scales[o] * code;
          }
        }
      }
      std::vector<float> x = random_floats(size_t(rows) * in, random);
      const DenseRows form = rows_of(kernels, DType::kBF16, coded);
      CHECK((activations != ActivationType::kFloat32 || form == DenseRows::kFloat));
      if (form == DenseRows::kFloat && !coded) continue;
      const int width = static_cast<int>(rounded_width(in));
      std::vector<uint16_t> rounded(rows * width);
      std::vector<int16_t> integers(rows * width);
      std::vector<float> x_scales(rows);
      if (form == DenseRows::kBf16) {
        round_rows(kernels, x.data(), in, nullptr, rows, in, rounded.data());
        for (float& value : x) value = bfloat16_to_float(float_to_bfloat16(value));
      } else if (form == DenseRows::kInteger) {
        round_rows(kernels, x.data(), in, nullptr, rows, in, panels, integers.data(),
                   x_scales.data());
        for (int i = 0; i < rows * in; ++i) {
          const float value = x_scales[i / in] * integers[i / in * width + i % in];
          CHECK(std::abs(x[i] - value) <= 0.51f * x_scales[i / in]);
          x[i] = value;
        }
      }
      const auto full = reference::matmul(values, out, in, x, rows, nullptr);
      std::vector<float> y(size_t(rows) * out);
      dense_rows(kernels, {.w = bytes.data(),
                           .dtype = DType::kBF16,
                           .panels = panels,
                           .scales = coded ? scales.data() : nullptr,
                           .out = out,
                           .in = in,
                           .x = x.data(),
                           .rounded = form == DenseRows::kBf16 ? rounded.data() : nullptr,
                           .integers = form == DenseRows::kInteger ? integers.data() : nullptr,
                           .x_scales = x_scales.data(),
                           .x_stride = form == DenseRows::kFloat ? in : width,
                           .rows = rows,
                           .y = y.data(),
                           .y_stride = out});
      check_close(
          y, full.y, [&](size_t i) { return full.magnitude[i]; }, 2e-6);
    }
  });
}

TEST_CASE("integers of a row hold its largest sums, are zeros for nothing, and tell of no number") {
  for_each_path([&](const std::string& path, ActivationType activations) {
    const auto cpu = backend(path, activations);
    const DenseKernels& kernels = dense_kernels(*cpu);
    if (rows_of(kernels, DType::kBF16, true) != DenseRows::kInteger) return;
    const float inf = std::numeric_limits<float>::infinity();
    for (const auto& [in, panels] : std::vector<std::pair<int, bool>>{
             {7, false}, {7, true}, {600, true}, {20001, false}, {20001, true}}) {
      CAPTURE(in);
      CAPTURE(panels);
      const int out = 3, rows = 5, width = static_cast<int>(rounded_width(in));
      const int64_t places =
          panels ? panel_values(DType::kBF16, out, in) : out * code_row_values(in);
      const std::vector<int8_t> codes(places, -127);
      const std::vector<float> scales(out, 0.5f);
      std::vector<float> x(size_t(rows) * in, 3.0f);
      std::fill_n(x.begin() + in, in, 0.0f);
      std::fill_n(x.begin() + 2 * in, in, 1e-38f);
      x[3 * in + in / 2] = std::nanf("");
      x[4 * in + in - 1] = -inf;
      std::vector<int16_t> integers(rows * width);
      std::vector<float> x_scales(rows), y(rows * out);
      round_rows(kernels, x.data(), in, nullptr, rows, in, panels, integers.data(),
                 x_scales.data());
      dense_rows(kernels, {.w = codes.data(),
                           .dtype = DType::kBF16,
                           .panels = panels,
                           .scales = scales.data(),
                           .out = out,
                           .in = in,
                           .integers = integers.data(),
                           .x_scales = x_scales.data(),
                           .x_stride = width,
                           .rows = rows,
                           .y = y.data(),
                           .y_stride = out});
      for (int o = 0; o < out; ++o) {
        CHECK(y[o] == doctest::Approx(-63.5 * 3 * in).epsilon(1e-6));
        CHECK(y[out + o] == 0);
        CHECK(y[2 * out + o] == 0);
        CHECK(!std::isfinite(y[3 * out + o]));
        CHECK(!std::isfinite(y[4 * out + o]));
      }
    }
  });
}

TEST_CASE("a row of a dense product has the same bits in every batch and split") {
  std::mt19937 random(16);
  for_each_path([&](const std::string& path, ActivationType activations) {
    const auto cpu = backend(path, activations);
    const DenseKernels& kernels = dense_kernels(*cpu);
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const auto& [in, panels] : std::vector<std::pair<int, bool>>{
               {8, false}, {8, true}, {70, false}, {70, true}, {576, false}, {576, true}}) {
        CAPTURE(in);
        CAPTURE(panels);
        const int out = 83, total = 37;
        const Stored w = random_tensor(dtype, out, in, random);
        const std::vector<uint8_t> bytes = panels ? in_panels(w.bytes, dtype, out, in) : w.bytes;
        const std::vector<float> x = random_floats(size_t(total) * in, random);
        std::vector<float> whole(size_t(total) * out), pieces(whole.size());
        DenseProduct p{.w = bytes.data(),
                       .dtype = dtype,
                       .panels = panels,
                       .out = out,
                       .in = in,
                       .x = x.data(),
                       .x_stride = in,
                       .rows = total,
                       .y = whole.data(),
                       .y_stride = out};
        dense_rows(kernels, p);
        for (int begin = 0; begin < total;) {
          p.rows = std::min<int>(total - begin, 1 + random() % 6);
          p.x = x.data() + begin * in;
          int split = static_cast<int>(random() % out);
          if (panels) split -= split % kDensePanel;
          p.w = bytes.data();
          p.y = pieces.data() + begin * out;
          p.out = split;
          dense_rows(kernels, p);
          p.w = bytes.data() +
                row_bytes(dtype, panels ? panel_index(dtype, in, split, 0) : int64_t{in} * split);
          p.y += split;
          p.out = out - split;
          dense_rows(kernels, p);
          begin += p.rows;
        }
        CHECK(whole == pieces);
      }
    }
  });
}

}  // namespace
}  // namespace smore
