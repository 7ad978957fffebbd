#include "backends/cpu/kernels.h"
#include "backends/cpu/pack.h"
#include "tests/kernel_cases.h"

namespace smore {

extern const CpuKernels kAvx512Kernels;
extern const IntegerKernels kEmulatedAmxProducts;

namespace {

using kernel_cases::LoudShare;
using kernel_cases::random_activations;
using kernel_cases::random_floats;
using kernel_cases::random_tensor;
using kernel_cases::Stored;

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

bool runs_avx512() {
  const KernelList found = machine_kernels();
  for (size_t i = 0; i < found.count; ++i) {
    if (found.tables[i] == &kAvx512Kernels) return true;
  }
  return false;
}

std::vector<float> product(const IntegerKernels& kernels, const Panels& w,
                           const std::vector<float>& x, int rows, int digits, const float* bias) {
  std::vector<int8_t> codes(x.size());
  std::vector<BlockScale> scales(x.size() / kBlock);
  std::vector<int8_t> high(x.size());
  std::vector<uint8_t> high_groups(x.size() / kGroup);
  std::vector<int32_t> high_end(x.size() / kBlock);
  const QuantRows quantised{.codes = codes.data(),
                            .scales = scales.data(),
                            .high = high.data(),
                            .high_groups = high_groups.data(),
                            .high_end = high_end.data(),
                            .columns = w.columns,
                            .digits = digits == 2};
  kernels.quantize(x.data(), 0, rows, quantised);
  std::vector<float> y(static_cast<size_t>(rows) * w.outs, NAN);
  kernels.product(w, quantised,
                  {.y = y.data(),
                   .y_stride = w.outs,
                   .bias = bias,
                   .panel_begin = 0,
                   .panel_end = (w.outs + kPanel - 1) / kPanel,
                   .row_begin = 0,
                   .row_end = rows});
  return y;
}

TEST_CASE("products on tiles have the bits of AVX-512's, for every type, at odd shapes") {
  if (!runs_avx512()) {
    MESSAGE("not tested: this machine has no AVX-512 to compare with");
    return;
  }
  std::mt19937 random(11);
  ThreadPool threads(1);
  HugeArena arena;
  LoudShare loud;
  for (DType dtype : kTypes) {
    CAPTURE(dtype_info(dtype).name);
    const int block = dtype_info(dtype).block;
    for (int out : {1, 16, 37}) {
      for (int in : {block, 3 * block}) {
        const Stored stored = random_tensor(dtype, out, in, random);
        const MatrixSource source = stored.source();
        const PackedMatrix packed({&source, 1}, arena, threads);
        const Panels& w = packed.parts()[0].panels;
        const std::vector<float> bias = random_floats(out, random);
        for (int rows : {1, 15, 16, 17, 31, 48, 71}) {
          CAPTURE(out);
          CAPTURE(in);
          CAPTURE(rows);
          std::vector<float> x = random_activations(rows, in, random);
          if (rows > 1) x[x.size() / 2] = INFINITY;
          loud.count(x, in);
          for (int digits : {1, 2}) {
            const std::vector<float> expected =
                product(*kAvx512Kernels.integer, w, x, rows, digits, bias.data());
            const std::vector<float> actual =
                product(kEmulatedAmxProducts, w, x, rows, digits, bias.data());
            CHECK(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)) == 0);
          }
        }
      }
    }
  }
  loud.check();
}

}  // namespace
}  // namespace smore
