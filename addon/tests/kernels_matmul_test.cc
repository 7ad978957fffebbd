#include <cstdlib>

#include "backends/cpu/reference.h"
#include "core/error.h"
#include "kernel_cases.h"

namespace smore {
namespace {

using kernel_cases::backend;
using kernel_cases::check_close;
using kernel_cases::cublaslt_backend;
using kernel_cases::for_each_backend;
using kernel_cases::kCuda;
using kernel_cases::LoudShare;
using kernel_cases::random_activations;
using kernel_cases::random_floats;
using kernel_cases::random_tensor;
using kernel_cases::Stored;
using kernel_cases::written;

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ8_0,
                            DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

struct Shape {
  int out, in;
};

// Widths that a type can have: whole blocks, or anything.
std::vector<Shape> shapes(DType dtype) {
  const int block = dtype_info(dtype).block;
  if (block == 1) return {{1, 1}, {17, 7}, {33, 257}, {16, 576}, {50, 515}, {200, 64}};
  return {{1, block}, {17, 3 * block}, {40, 2 * block}, {200, 2 * block}};
}

std::vector<float> run(Backend& backend, const Matrix& w, const std::vector<float>& x, int rows,
                       const std::vector<float>& bias) {
  const Buffer from = backend.place(x);
  const Buffer bias_from = backend.place(bias);
  return written(backend, static_cast<size_t>(rows) * w.rows(),
                 [&](float* to) { backend.matmul(w, from.get(), rows, bias_from.get(), to); });
}

// Activations as products with weights of this type see them, but for rounding.
std::vector<float> seen(const std::vector<float>& x, int columns, DType dtype,
                        const std::string& path, ActivationType activations) {
  const bool floats = activations == ActivationType::kFloat32 || dtype_info(dtype).block == 1;
  if (floats || path == kCuda) return x;
  return reference::through_integers(x, columns, activations == ActivationType::kDigits ? 2 : 1);
}

// What rounding of activations, and of weights on tensor cores, may do.
double tolerance(DType dtype, const std::string& path, ActivationType activations) {
  if (activations == ActivationType::kFloat32) return 1e-6;
  if (dtype == DType::kBF16) return 1.0 / 256;
  return path == kCuda ? 1.0 / 128 : 1e-6;
}

TEST_CASE("a product equals the reference on every path, for every type, at odd shapes") {
  std::mt19937 random(1);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    LoudShare loud;
    for (DType dtype : kTypes) {
      for (const Shape& shape : shapes(dtype)) {
        CAPTURE(dtype_info(dtype).name);
        CAPTURE(shape.out);
        CAPTURE(shape.in);
        const Stored w = random_tensor(dtype, shape.out, shape.in, random);
        const MatrixSource source = w.source();
        const auto packed = ops->pack({&source, 1});
        CHECK(packed->rows() == shape.out);
        CHECK(packed->columns() == shape.in);
        const std::vector<float> bias = random_floats(shape.out, random);
        // Many outputs at many rows take several tiles of tensor cores each way.
        const bool tiled = shape.out == 200;
        for (int rows : tiled ? std::vector{21, 40, 70, 150} : std::vector{1, 3, 21}) {
          CAPTURE(rows);
          const std::vector<float> x = random_activations(rows, shape.in, random);
          if (dtype_info(dtype).block > 1) loud.count(x, shape.in);
          const auto expected =
              reference::matmul(w.floats(), shape.out, shape.in,
                                seen(x, shape.in, dtype, path, activations), rows, bias.data());
          check_close(
              run(*ops, *packed, x, rows, bias), expected.y,
              [&](size_t i) { return expected.magnitude[i]; }, tolerance(dtype, path, activations));
        }
      }
    }
    loud.check();
  });
}

TEST_CASE("stacked parts of different types are one matrix, with rotary rows put in order") {
  std::mt19937 random(2);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    const Stored q = random_tensor(DType::kQ4_K, 40, 256, random);
    const Stored k = random_tensor(DType::kF16, 24, 256, random);
    const Stored v = random_tensor(DType::kQ6_K, 9, 256, random);
    const MatrixSource parts[] = {q.source(4), k.source(2), v.source()};
    const auto packed = ops->pack(parts);
    REQUIRE(packed->rows() == 73);
    std::vector<float> w = reference::deinterleave(q.floats(), 40, 256, 4);
    const std::vector<float> k_rows = reference::deinterleave(k.floats(), 24, 256, 2);
    const std::vector<float> v_rows = v.floats();
    w.insert(w.end(), k_rows.begin(), k_rows.end());
    w.insert(w.end(), v_rows.begin(), v_rows.end());
    const std::vector<float> x = random_activations(5, 256, random);
    const auto expected = reference::matmul(w, 73, 256, x, 5, nullptr);
    check_close(
        run(*ops, *packed, x, 5, {}), expected.y, [&](size_t i) { return expected.magnitude[i]; },
        activations == ActivationType::kFloat32 ? 1e-6 : 1e-2);
  });
}

TEST_CASE("products of many rows by cuBLASLt equal the reference for every type, at odd shapes") {
  const auto ops = cublaslt_backend();
  if (!ops) return;
  std::mt19937 random(8);
  constexpr int kRows = 261;
  for (DType dtype : kTypes) {
    for (const Shape& shape : shapes(dtype)) {
      CAPTURE(dtype_info(dtype).name);
      CAPTURE(shape.out);
      CAPTURE(shape.in);
      const Stored w = random_tensor(dtype, shape.out, shape.in, random);
      const MatrixSource source = w.source();
      const auto packed = ops->pack({&source, 1});
      const std::vector<float> bias = random_floats(shape.out, random);
      const std::vector<float> x = random_activations(kRows, shape.in, random);
      const auto expected =
          reference::matmul(w.floats(), shape.out, shape.in, x, kRows, bias.data());
      check_close(
          run(*ops, *packed, x, kRows, bias), expected.y,
          [&](size_t i) { return expected.magnitude[i]; },
          tolerance(dtype, kCuda, ActivationType::kDigits));
    }
  }
}

TEST_CASE("parts in float32 stand between those that cuBLASLt multiplies") {
  const auto ops = cublaslt_backend();
  if (!ops) return;
  std::mt19937 random(9);
  constexpr int kRows = 300;
  const Stored a = random_tensor(DType::kQ4_0, 41, 64, random);
  const Stored b = random_tensor(DType::kBF16, 18, 64, random);
  const Stored c = random_tensor(DType::kF32, 7, 64, random);
  const Stored d = random_tensor(DType::kF16, 30, 64, random);
  const MatrixSource parts[] = {a.source(), b.source(), c.source(), d.source()};
  const auto packed = ops->pack(parts);
  std::vector<float> w;
  for (const Stored* part : {&a, &b, &c, &d}) {
    const std::vector<float> floats = part->floats();
    w.insert(w.end(), floats.begin(), floats.end());
  }
  const std::vector<float> x = random_activations(kRows, 64, random);
  const auto expected = reference::matmul(w, 96, 64, x, kRows, nullptr);
  check_close(
      run(*ops, *packed, x, kRows, {}), expected.y, [&](size_t i) { return expected.magnitude[i]; },
      1e-2);
}

TEST_CASE("a row has the same bits in every batch") {
  std::mt19937 random(3);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    LoudShare loud;
    constexpr int kColumns = 1024;  // more than are unpacked at once
    for (DType dtype : kTypes) {
      CAPTURE(dtype_info(dtype).name);
      const int total = 150;
      const int outs = path == kCuda ? 20 : 150;
      const Stored w = random_tensor(dtype, outs, kColumns, random);
      const MatrixSource source = w.source();
      const std::vector<float> bias = random_floats(outs, random);
      const std::vector<float> x = random_activations(total, kColumns, random);
      loud.count(x, kColumns);
      const auto alone = backend(path, activations, 1);
      const auto packed = alone->pack({&source, 1});
      std::vector<float> single;
      for (int t = 0; t < total; ++t) {
        const std::vector<float> row(x.begin() + t * kColumns, x.begin() + (t + 1) * kColumns);
        const std::vector<float> y = run(*alone, *packed, row, 1, bias);
        single.insert(single.end(), y.begin(), y.end());
      }
      const auto together = backend(path, activations, 3);
      const auto repacked = together->pack({&source, 1});
      for (int begin = 0; begin < total;) {
        const int rows = begin == 0 ? 130 : std::min<int>(total - begin, 1 + random() % 20);
        const std::vector<float> part(x.begin() + begin * kColumns,
                                      x.begin() + (begin + rows) * kColumns);
        const std::vector<float> y = run(*together, *repacked, part, rows, bias);
        CAPTURE(rows);
        CHECK(std::memcmp(y.data(), single.data() + begin * outs, y.size() * sizeof(float)) == 0);
        begin += rows;
      }
    }
    loud.check();
  });
}

// A sum under a norm, and an activation under a gate, made for a product: what a stream has then,
// the rows that were kept, and the product.
struct Made {
  std::vector<float> stream, rows, y;
  bool operator==(const Made&) const = default;
};

struct MadeRows {
  int rows, columns, outs;
  std::vector<float> x, added, weight, bias, gate_up;

  MadeRows(int count, int width, int out, std::mt19937& random)
      : rows(count),
        columns(width),
        outs(out),
        x(random_activations(count, width, random)),
        added(random_activations(count, width, random)),
        weight(random_floats(width, random)),
        bias(random_floats(out, random)),
        gate_up(random_activations(count, 2 * width, random)) {}

  // `over`: the normed rows lie where the added ones were.
  template <class Run>
  Made normed(Backend& ops, bool adds, bool over, bool kept, Run&& run) const {
    const Buffer stream = ops.place(x), plus = ops.place(added), weights = ops.place(weight),
                 biases = ops.place(bias), apart = ops.place(std::vector<float>(x.size(), NAN));
    const Buffer& to = over ? plus : apart;
    const NormedRows in{stream.get(), adds ? plus.get() : nullptr, weights.get(), 1e-5f, to.get(),
                        kept};
    Made made;
    made.y = written(ops, size_t(rows) * outs, [&](float* y) { run(in, biases.get(), y); });
    made.stream = kernel_cases::on_host(ops, stream, x.size());
    if (kept) made.rows = kernel_cases::on_host(ops, to, x.size());
    return made;
  }
  template <class Run>
  Made gated(Backend& ops, bool kept, Run&& run) const {
    const Buffer from = ops.place(gate_up), to = ops.place(std::vector<float>(x.size(), NAN));
    const GatedRows in{Activation::kSilu, from.get(), to.get(), kept};
    Made made;
    made.y = written(ops, size_t(rows) * outs, [&](float* y) { run(in, y); });
    if (kept) made.rows = kernel_cases::on_host(ops, to, x.size());
    return made;
  }
};

TEST_CASE("products of rows as they are made have the bits of one op after the other") {
  std::mt19937 random(13);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations, 3);
    constexpr int kColumns = 128, kOuts = 73;
    const Stored a = random_tensor(DType::kQ4_0, 40, kColumns, random);
    const Stored b = random_tensor(DType::kBF16, 24, kColumns, random);
    const Stored c = random_tensor(DType::kF32, 9, kColumns, random);
    const MatrixSource mixed[] = {a.source(), b.source(), c.source()};
    const Stored one = random_tensor(DType::kQ4_0, kOuts, kColumns, random);
    const MatrixSource single = one.source();
    for (const auto& w : {ops->pack(mixed), ops->pack({&single, 1})}) {
      for (const int rows : {1, 3, 16, 37, 150}) {
        CAPTURE(rows);
        const MadeRows made(rows, kColumns, kOuts, random);
        for (const bool kept : {false, true}) {
          CAPTURE(kept);
          for (const auto& [adds, over] : {std::pair{false, false}, {true, false}, {true, true}}) {
            CAPTURE(adds);
            CAPTURE(over);
            const Made apart = made.normed(
                *ops, adds, over, kept, [&](const NormedRows& in, const float* bias, float* y) {
                  if (in.added) ops->add(in.x, in.added, int64_t{rows} * kColumns);
                  ops->rms_norm(in.x, in.weight, rows, kColumns, in.eps, in.normed);
                  ops->matmul(*w, in.normed, rows, bias, y);
                });
            const Made together = made.normed(
                *ops, adds, over, kept, [&](const NormedRows& in, const float* bias, float* y) {
                  ops->normed_matmul(*w, in, rows, bias, y);
                });
            CHECK(together == apart);
          }
          const Made apart = made.gated(*ops, kept, [&](const GatedRows& in, float* y) {
            ops->gated_activation(in.activation, in.gate_up, rows, kColumns, in.gated);
            ops->matmul(*w, in.gated, rows, nullptr, y);
          });
          const Made together = made.gated(*ops, kept, [&](const GatedRows& in, float* y) {
            ops->gated_matmul(*w, in, rows, y);
          });
          CHECK(together == apart);
        }
      }
    }
  });
}

TEST_CASE("embedding rows are the stored values") {
  std::mt19937 random(4);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (DType dtype : kTypes) {
      CAPTURE(dtype_info(dtype).name);
      const Stored w = random_tensor(dtype, 37, 512, random);
      const MatrixSource source = w.source();
      const auto packed = ops->pack({&source, 1});
      const std::vector<int32_t> tokens{36, 0, 17, 16, 15};
      const std::vector<float> x = written(*ops, tokens.size() * 512, [&](float* to) {
        ops->embed(*packed, {tokens.data()}, static_cast<int>(tokens.size()), 1, to);
      });
      const std::vector<float> all = w.floats();
      std::vector<float> expected;
      for (int32_t token : tokens) {
        expected.insert(expected.end(), all.begin() + token * 512, all.begin() + (token + 1) * 512);
      }
      CHECK(x == expected);
    }
  });
}

TEST_CASE("a value that is not finite reaches the result") {
  std::mt19937 random(5);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (DType dtype : kTypes) {
      const Stored w = random_tensor(dtype, 20, 256, random);
      const MatrixSource source = w.source();
      const auto packed = ops->pack({&source, 1});
      for (float bad : {NAN, INFINITY, -INFINITY}) {
        std::vector<float> x = random_activations(2, 256, random);
        x[300] = bad;
        const std::vector<float> y = run(*ops, *packed, x, 2, {});
        CHECK(std::isfinite(y[3]));
        CHECK_FALSE(std::isfinite(y[23]));
      }
    }
  });
}

TEST_CASE("an all-zero or tiny row gives zero, not NaN") {
  std::mt19937 random(6);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    const Stored w = random_tensor(DType::kQ4_0, 20, 64, random);
    const MatrixSource source = w.source();
    const auto packed = ops->pack({&source, 1});
    for (float value : {0.0f, 1e-44f}) {
      for (float y : run(*ops, *packed, std::vector<float>(64, value), 1, {})) {
        CHECK(std::abs(y) < 1e-37f);
      }
    }
  });
}

TEST_CASE("an unknown kernel path is refused with the machine's own") {
  try {
    make_cpu_backend({.threads = 1, .activations = ActivationType::kDigits, .path = "abacus"});
    FAIL("not refused");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kInvalidArgument);
    CHECK(std::string(error.what()).find("abacus") != std::string::npos);
    CHECK(std::string(error.what()).find("generic") != std::string::npos);
  }
}

TEST_CASE("SMORE_KERNEL_PATH forces every path of the machine where none is named") {
  const char* before = std::getenv("SMORE_KERNEL_PATH");
  const std::string kept = before ? before : "";
  const auto made = [](const std::string& named) {
    return make_cpu_backend({.threads = 1, .activations = ActivationType::kFloat32, .path = named});
  };
  for (const std::string& path : cpu_paths()) {
    setenv("SMORE_KERNEL_PATH", path.c_str(), 1);
    CHECK(made("")->path() == path + "-fp32");
    CHECK(made("generic")->path() == "generic-fp32");
  }
  setenv("SMORE_KERNEL_PATH", "abacus", 1);
  CHECK_THROWS_WITH_AS(made(""), doctest::Contains("abacus"), Error);
  if (before) {
    setenv("SMORE_KERNEL_PATH", kept.c_str(), 1);
  } else {
    unsetenv("SMORE_KERNEL_PATH");
  }
}

TEST_CASE("a part of another width is refused by name") {
  std::mt19937 random(7);
  const auto ops = backend("generic", ActivationType::kFloat32);
  const Stored a = random_tensor(DType::kF32, 4, 32, random);
  const Stored b = random_tensor(DType::kF32, 4, 33, random);
  const MatrixSource parts[] = {a.source(), b.source()};
  CHECK_THROWS_WITH_AS(ops->pack(parts), doctest::Contains("random.F32"), Error);
}

}  // namespace
}  // namespace smore
