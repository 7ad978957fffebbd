#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "backends/cuda/cublaslt_api.h"
#include "backends/cuda/emulated/cublaslt.h"
#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/panels.h"
#include "backends/cuda/products.h"
#include "tests/engine_cases.h"
#include "tests/kernel_cases.h"
#include "tests/refusal.h"

// Products of many rows by cuBLASLt, as the emulated device has it.

namespace smore {

using namespace kernel_cases;
using cuda::PanelProducts;

namespace {

constexpr int kLeast = PanelProducts::kLeastRows;

std::vector<float> product(Backend& ops, const Matrix& w, const std::vector<float>& x, int rows) {
  const Buffer from = ops.place({x.data(), static_cast<size_t>(rows * w.columns())});
  return written(ops, static_cast<size_t>(rows * w.rows()),
                 [&](float* to) { ops.matmul(w, from.get(), rows, nullptr, to); });
}

}  // namespace

TEST_CASE("panels may begin and end anywhere in the parts of a matrix") {
  std::mt19937 random(1);
  const Stored a = random_tensor(DType::kQ6_K, 300, 256, random);
  const Stored b = random_tensor(DType::kBF16, 5, 256, random);
  const Stored c = random_tensor(DType::kQ5_1, 150, 256, random);
  const MatrixSource sources[] = {a.source(), b.source(), c.source()};
  ThreadPool threads(1);
  const cuda::Stream stream;
  const cuda::TiledMatrix matrix(sources, threads, stream);
  const auto ops = backend(kCuda, ActivationType::kDigits);
  const std::vector<float> x = random_activations(kLeast, 256, random);
  const std::vector<float> bias = random_floats(455, random);
  std::vector<float> w;
  for (const Stored* part : {&a, &b, &c}) {
    const std::vector<float> floats = part->floats();
    w.insert(w.end(), floats.begin(), floats.end());
  }
  const auto expected = reference::matmul(w, 455, 256, x, kLeast, bias.data());
  const Buffer from = ops->place(x);
  const Buffer bias_from = ops->place(bias);
  const cuda::DeviceMemory rounded(cuda::tensor_scratch(256, kLeast));
  cuda::round_inputs(from.get(), 256, kLeast, rounded.data(), stream);
  stream.synchronize();
  // Of 60, 128, 256 and more outputs than there are.
  for (const size_t outs : {60, 128, 300, 500}) {
    CAPTURE(outs);
    const uint64_t before = cuda::emulated::library_products;
    PanelProducts panels("", outs * 256 * sizeof(uint16_t));
    panels.expect(matrix);
    panels.reserve(kLeast);
    const cuda::DeviceMemory scratch(panels.scratch_bytes());
    const auto y = written(*ops, expected.y.size(), [&](float* to) {
      panels.multiply(matrix.parts(), rounded.data(), kLeast, bias_from.get(), to, 455,
                      scratch.data(), stream);
      stream.synchronize();
    });
    check_close(
        y, expected.y, [&](size_t i) { return expected.magnitude[i]; }, 1.0 / 128);
    const uint64_t products = cuda::emulated::library_products - before;
    CHECK(products == (outs == 60 ? 8 : outs == 128 ? 4 : outs == 300 ? 2 : 1));
  }
}

TEST_CASE(
    "steps of up to 256 rows keep their bits, and in longer ones rows do whatever the length") {
  std::mt19937 random(2);
  const Stored w = random_tensor(DType::kQ8_0, 70, 96, random);
  const MatrixSource source = w.source();
  const std::vector<float> x = random_activations(400, 96, random);
  const auto invariant = backend(kCuda, ActivationType::kDigits);
  const auto by_library = cublaslt_backend();
  CHECK(invariant->path() == "cuda-sm90-bf16");
  CHECK(by_library->path() == "cuda-sm90-bf16-cublaslt");
  const auto ours = invariant->pack({&source, 1});
  const auto theirs = by_library->pack({&source, 1});
  const uint64_t products = cuda::emulated::library_products;
  for (const int rows : {1, 17, kLeast - 1}) {
    CHECK(product(*by_library, *theirs, x, rows) == product(*invariant, *ours, x, rows));
  }
  CHECK(cuda::emulated::library_products == products);
  const uint64_t choices = cuda::emulated::library_choices;
  const std::vector<float> longest = product(*by_library, *theirs, x, 400);
  for (const int rows : {kLeast, 300, 399}) {
    const std::vector<float> some = product(*by_library, *theirs, x, rows);
    CHECK(std::equal(some.begin(), some.end(), longest.begin()));
  }
  CHECK(cuda::emulated::library_products == products + 4);
  CHECK(cuda::emulated::library_choices == choices + 1);
}

TEST_CASE("the library's memory is in the plan and taken at load, as are its kernels") {
  EngineConfig c = engine_cases::config("cuda:0");
  c.activations = ActivationType::kDigits;
  c.quantize = Quantize::kQ8_0;
  c.max_batch_tokens = 320;
  c.kv_memory = 64 << 20;
  c.products = GpuProducts::kCublasLt;
  const uint64_t before = cuda::emulated::library_choices;
  const auto engine = engine_cases::load(c);
  const uint64_t choices = cuda::emulated::library_choices;
  CHECK(choices > before);
  std::vector<Sequence> prompts;
  for (int b = 0; b < 4; ++b) {
    prompts.push_back({.tokens = std::vector<int32_t>(80, 5 + b), .slot = b, .first_page = 8 * b});
  }
  const uint64_t products = cuda::emulated::library_products;
  {
    const cuda::emulated::RefusedAllocation none(0);
    const HandMadeStep step = engine_cases::run(*engine, prompts);
    CHECK(step.status == std::vector<int32_t>(4, 0));
    CHECK_FALSE(none.happened());
  }
  CHECK(cuda::emulated::library_products > products);
  CHECK(cuda::emulated::library_choices == choices);

  const ModelConfig model = open_model(c.model_path).config;
  const StepSizes few{.rows = kLeast - 1, .sequences = 1, .positions = 64};
  const StepSizes many{.rows = kLeast, .sequences = 1, .positions = 64};
  const auto by_library = cublaslt_backend();
  CHECK(by_library->scratch_bytes(model, many) - by_library->scratch_bytes(model, few) >=
        PanelProducts::kPanelBytes);
}

TEST_CASE("a library that is not there, or is another, is refused with how to get it") {
  const auto open = [](const std::string& file) {
    return
        [file] { make_backend("cuda:0", {.products = GpuProducts::kCublasLt, .cublaslt = file}); };
  };
  check_refused(ErrorCode::kUnsupported, "/nowhere/libcublasLt.so.13: cannot open",
                open("/nowhere/libcublasLt.so.13"));
  check_refused(ErrorCode::kUnsupported, "pip install nvidia-cublas", open("/nowhere/libx.so"));
  check_refused(ErrorCode::kUnsupported, "libm.so.6 has no function cublasLtCreate",
                open("libm.so.6"));
  const std::vector<std::string> names{"libsmore-none.so.2", "libsmore-none.so.1"};
  check_refused(ErrorCode::kUnsupported, "libsmore-none.so.1",
                [&] { cuda::cublaslt::open_library(names); });
}

TEST_CASE("the library is refused where nothing would be multiplied by it") {
  BackendOptions options{.activations = ActivationType::kFloat32};
  options.products = GpuProducts::kCublasLt;
  check_refused(ErrorCode::kInvalidArgument, "gpuProducts is cublaslt",
                [&] { make_cuda_backend(options, 0); });
}

}  // namespace smore
