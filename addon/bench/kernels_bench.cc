// Times the CPU kernels over the matrices of SmolLM2-135M, every layer its own copy, so that a pass
// streams from memory as a model's step does. Prints GB/s and GFLOP/s beside the machine's peaks.
//   kernels_bench [TYPE=Q4_0] [HEAD_TYPE=Q8_0] [auto|int8|fp32] [THREADS=1,2,4]
// [ROWS=1,4,16,64,512]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/peaks.h"
#include "bench/arguments.h"
#include "core/tensor.h"

namespace smore {
namespace {

struct Layer {
  const char* name;
  int out, in, copies;
  bool head;
};

constexpr Layer kMatrices[] = {{"qkv", 960, 576, 30, false},
                               {"o", 576, 576, 30, false},
                               {"gate_up", 3072, 576, 30, false},
                               {"down", 576, 1536, 30, false},
                               {"lm_head", 49152, 576, 1, true}};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Runs fn until a third of a second is gone, at least three times.
template <class Fn>
void repeat(Fn&& fn) {
  const double end = seconds() + 0.3;
  for (int i = 0; i < 3 || seconds() < end; ++i) fn();
}

DType parse_type(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(DType::kQ6_K); ++i) {
    if (name == dtype_info(static_cast<DType>(i)).name) return static_cast<DType>(i);
  }
  throw Error(ErrorCode::kInvalidArgument, "there is no type \"" + name + "\"");
}

// Bits that mean small numbers in every type: small float16 and float8-like patterns never matter
// to the speed, only that nothing is NaN or subnormal.
std::unique_ptr<Matrix> random_matrix(Backend& cpu, DType dtype, int out, int in) {
  std::vector<uint8_t> bytes(row_bytes(dtype, in) * out);
  uint32_t state = 1;
  for (uint8_t& byte : bytes) byte = 0x20 | ((state = state * 1664525 + 1013904223) >> 24 & 0x0f);
  TensorView view{{.name = "random", .dtype = dtype, .rank = 2, .shape = {out, in, 1, 1}},
                  bytes.data()};
  const MatrixSource source{view, 0};
  return cpu.pack({&source, 1});
}

// All linears of the model, each layer its own copy.
struct Model {
  std::vector<std::unique_ptr<Matrix>> copies[std::size(kMatrices)];

  Model(Backend& cpu, DType type, DType head_type) {
    for (size_t m = 0; m < std::size(kMatrices); ++m) {
      for (int i = 0; i < kMatrices[m].copies; ++i) {
        copies[m].push_back(random_matrix(cpu, kMatrices[m].head ? head_type : type,
                                          kMatrices[m].out, kMatrices[m].in));
      }
    }
  }

  double bytes(size_t m) const {
    return static_cast<double>(copies[m][0]->bytes()) * kMatrices[m].copies;
  }
};

// Rows that the head computes: a prompt needs the logits of one row alone.
int head_rows(int rows) { return rows > 64 ? 1 : rows; }

// Seconds of each kind of matrix in the fastest of several steps.
std::vector<double> time_step(Backend& cpu, const Model& model, int rows) {
  std::vector<float> x(static_cast<size_t>(rows) * 1536);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 17) * 0.1f - 0.8f;
  std::vector<float> y(std::max<size_t>(static_cast<size_t>(rows) * 3072,
                                        static_cast<size_t>(head_rows(rows)) * 49152));
  std::vector<double> best(std::size(kMatrices), 1e9);
  repeat([&] {
    std::vector<double> times(std::size(kMatrices));
    for (int layer = 0; layer < 30; ++layer) {
      for (size_t m = 0; m < std::size(kMatrices); ++m) {
        if (layer >= kMatrices[m].copies) continue;
        const double begin = seconds();
        cpu.matmul(*model.copies[m][layer], x.data(), kMatrices[m].head ? head_rows(rows) : rows,
                   nullptr, y.data());
        times[m] += seconds() - begin;
      }
    }
    if (std::accumulate(times.begin(), times.end(), 0.0) <
        std::accumulate(best.begin(), best.end(), 0.0)) {
      best = times;
    }
  });
  return best;
}

void bench(DType type, DType head_type, ActivationType activations, int threads,
           const std::vector<int>& row_counts) {
  const auto cpu = make_cpu_backend({.threads = threads, .activations = activations, .path = ""});
  const Model model(*cpu, type, head_type);
  const Peaks peaks = measure_peaks({.threads = threads, .activations = activations, .path = ""});
  std::printf("%s, %d threads; peaks: read %.1f GB/s, int8 %.0f GFLOP/s, float %.0f GFLOP/s\n",
              std::string(cpu->path()).c_str(), threads, peaks.read_bytes * 1e-9,
              peaks.int8_operations * 1e-9, peaks.float_operations * 1e-9);
  std::printf("%5s  %-8s %7s %8s %7s %8s\n", "rows", "matrix", "MB", "us", "GB/s", "GFLOP/s");
  for (int rows : row_counts) {
    const std::vector<double> times = time_step(*cpu, model, rows);
    double total_bytes = 0, total_flops = 0, total_time = 0;
    const auto line = [&](const char* name, double bytes, double flops, double time) {
      std::printf("%5d  %-8s %7.1f %8.0f %7.1f %8.0f", rows, name, bytes * 1e-6, time * 1e6,
                  bytes / time * 1e-9, flops / time * 1e-9);
    };
    for (size_t m = 0; m < std::size(kMatrices); ++m) {
      const Layer& matrix = kMatrices[m];
      const double flops =
          2.0 * matrix.out * matrix.in * matrix.copies * (matrix.head ? head_rows(rows) : rows);
      line(matrix.name, model.bytes(m), flops, times[m]);
      std::printf("\n");
      total_bytes += model.bytes(m);
      total_flops += flops;
      total_time += times[m];
    }
    line("step", total_bytes, total_flops, total_time);
    std::printf("  %.0f tokens/s\n", rows / total_time);
  }
}

void run(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return argc > i ? argv[i] : otherwise;
  };
  const DType type = parse_type(argument(1, "Q4_0"));
  const DType head_type = parse_type(argument(2, "Q8_0"));
  const ActivationType activations = activation_type(argument(3, "auto"));
  const std::vector<int> rows = whole_numbers("ROWS", argument(5, "1,4,16,64,512"), 1, 8192);
  for (const int threads : whole_numbers("THREADS", argument(4, "1,2,4"), 1, 1024)) {
    bench(type, head_type, activations, threads, rows);
  }
}

}  // namespace
}  // namespace smore

int main(int argc, char** argv) {
  return smore::run_program(
      "kernels_bench [TYPE=Q4_0] [HEAD_TYPE=Q8_0] [auto|int8|fp32] [THREADS=1,2,4] "
      "[ROWS=1,4,16,64,512]",
      0, argc, argv, smore::run);
}
