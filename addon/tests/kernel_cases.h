#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/reference.h"
#include "core/error.h"
#include "core/tensor.h"

// What the kernel tests share: every path of this machine, random tensors of every type, comparison
// by a share of a norm with the worst index named.

namespace smore::kernel_cases {

// The path of the CUDA backend: "cuda", or "cuda-emulated" where its kernels run on the host.
inline constexpr const char* kCuda = SMORE_TEST_DEVICE;

inline std::unique_ptr<Backend> backend(const std::string& path, ActivationType activations,
                                        int threads = 2) {
  const bool cuda = path == kCuda;
  const BackendOptions options{threads, activations, cuda ? "" : path};
  return cuda ? make_cuda_backend(options, 0) : make_cpu_backend(options);
}

// The GPU's with products of many rows by cuBLASLt; null where there is no GPU, or the library is
// not there.
inline std::unique_ptr<Backend> cublaslt_backend() {
  if (cuda_devices().usable.empty()) return nullptr;
  BackendOptions options{.threads = 2};
  options.products = GpuProducts::kCublasLt;
  const char* file = std::getenv("SMORE_CUBLASLT");
  if (file != nullptr) options.cublaslt = file;
  try {
    return make_cuda_backend(options, 0);
  } catch (const Error& error) {
    REQUIRE(error.code() == ErrorCode::kUnsupported);
    MESSAGE(error.what());
    return nullptr;
  }
}

template <class Fn>
void for_each_path(Fn&& fn) {
  for (const std::string& path : cpu_paths()) {
    for (ActivationType activations : kActivationTypes) {
      CAPTURE(path);
      CAPTURE(activations);
      fn(path, activations);
    }
  }
}

// The same over every backend.
template <class Fn>
void for_each_backend(Fn&& fn) {
  for_each_path(fn);
  if (cuda_devices().usable.empty()) return;
  for (ActivationType activations : {ActivationType::kDigits, ActivationType::kFloat32}) {
    CAPTURE(kCuda);
    CAPTURE(activations);
    fn(kCuda, activations);
  }
}

// Values to and from where the ops of a backend use them.
inline std::vector<float> on_host(Backend& backend, const Buffer& buffer, size_t count) {
  const float* values = backend.to_host(buffer.get(), static_cast<int64_t>(count));
  return {values, values + count};
}

// What an op makes of these values in place.
template <class Op>
std::vector<float> changed(Backend& backend, const std::vector<float>& values, Op&& op) {
  const Buffer buffer = backend.place(values);
  op(buffer.get());
  return on_host(backend, buffer, values.size());
}

// What an op writes to `count` values that were no numbers.
template <class Op>
std::vector<float> written(Backend& backend, size_t count, Op&& op) {
  return changed(backend, std::vector<float>(count, NAN), op);
}

inline std::vector<float> random_floats(size_t count, std::mt19937& random, float scale = 1) {
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// Rows as models have them: one channel is loud in all, and so are some values here and there, by
// which their groups get high digits.
inline std::vector<float> random_activations(int rows, int columns, std::mt19937& random) {
  std::vector<float> x = random_floats(static_cast<size_t>(rows) * columns, random);
  const size_t loud = random() % columns;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % columns == loud || random() % 40 == 0) x[i] *= 10;
  }
  return x;
}

// How many of the groups that a test multiplies have two digits, where activations have two.
class LoudShare {
 public:
  void count(const std::vector<float>& x, int columns) {
    const std::vector<bool> loud = reference::loud_groups(x, columns);
    groups_ += static_cast<double>(loud.size());
    loud_ += static_cast<double>(std::count(loud.begin(), loud.end(), true));
  }

  // So few would not show that they are lost.
  void check() const { CHECK(loud_ > 0.03 * groups_); }

 private:
  double groups_ = 0;
  double loud_ = 0;
};

// A tensor with its bytes.
struct Stored {
  std::vector<uint8_t> bytes;
  TensorView view;

  MatrixSource source(int interleaved_heads = 0) const { return {view, interleaved_heads}; }
  std::vector<float> floats() const { return to_floats(view); }
};

inline std::vector<int> half_offsets(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
    case DType::kQ5_0:
    case DType::kQ8_0:
      return {0};
    case DType::kQ6_K:
      return {208};
    default:
      return {0, 2};
  }
}

// Random codes with scales of a sensible size.
inline Stored random_tensor(DType dtype, int rows, int columns, std::mt19937& random) {
  Stored stored;
  const size_t stride = row_bytes(dtype, columns);
  stored.bytes.resize(stride * rows);
  const DTypeInfo& info = dtype_info(dtype);
  if (info.block == 1) {
    const std::vector<float> values = random_floats(static_cast<size_t>(rows) * columns, random);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits =
          dtype == DType::kF16 ? float_to_half(values[i]) : float_to_bfloat16(values[i]);
      const void* from = dtype == DType::kF32 ? static_cast<const void*>(&values[i]) : &bits;
      std::memcpy(&stored.bytes[i * info.bytes], from, info.bytes);
    }
  } else {
    for (uint8_t& byte : stored.bytes) byte = static_cast<uint8_t>(random());
    std::uniform_real_distribution<float> scale(0.01f, 0.1f);
    for (size_t block = 0; block < stored.bytes.size(); block += info.bytes) {
      for (int offset : half_offsets(dtype)) {
        const uint16_t half = float_to_half(random() % 2 ? scale(random) : -scale(random));
        std::memcpy(&stored.bytes[block + offset], &half, sizeof half);
      }
    }
  }
  stored.view.name = std::string("random.") + info.name;
  stored.view.dtype = dtype;
  stored.view.rank = 2;
  stored.view.shape = {rows, columns, 1, 1};
  stored.view.data = stored.bytes.data();
  return stored;
}

// Checks |actual - expected| <= tolerance * norm for every element.
template <class Actual, class Expected, class Norm>
void check_close(const Actual& actual, const Expected& expected, const Norm& norm,
                 double tolerance) {
  REQUIRE(actual.size() == expected.size());
  size_t worst = 0;
  double most = -1;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double share = std::abs(actual[i] - expected[i]) / (norm(i) + 1e-30);
    if (share > most || std::isnan(share)) {
      most = share;
      worst = i;
    }
    if (std::isnan(share)) break;
  }
  INFO("worst at " << worst << ": " << actual[worst] << ", expected " << expected[worst]
                   << ", off by " << most << " of its norm");
  CHECK(most <= tolerance);
}

}  // namespace smore::kernel_cases
