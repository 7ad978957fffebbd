#include "backends/cuda/elementwise.h"

#include <algorithm>

#include "backends/cuda/warp.h"

namespace smore::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMostBlocks = 4096;

unsigned blocks_for(int64_t count) {
  return static_cast<unsigned>(std::min<int64_t>((count + kThreads - 1) / kThreads, kMostBlocks));
}

__device__ int64_t first_index() { return int64_t{blockIdx.x} * kThreads + threadIdx.x; }
__device__ int64_t index_step() { return int64_t{gridDim.x} * kThreads; }

// A block for each row.
__global__ void __launch_bounds__(kThreads)
    norm_kernel(const float* x, const float* weight, int width, float eps, float* y) {
  __shared__ float scratch[kThreads / kWarpSize];
  const float* row = x + int64_t{blockIdx.x} * width;
  float* out = y + int64_t{blockIdx.x} * width;
  float squares = 0;
  for (int i = threadIdx.x; i < width; i += kThreads) squares = fmaf(row[i], row[i], squares);
  squares = block_sum(squares, scratch);
  const float scale = norm_scale(squares, width, eps);
  for (int i = threadIdx.x; i < width; i += kThreads) out[i] = row[i] * scale * weight[i];
}

// The same of the sum of two, which is kept. A thread reads what it wrote itself.
__global__ void __launch_bounds__(kThreads)
    add_norm_kernel(float* x, const float* y, const float* weight, int width, float eps,
                    float* normed) {
  __shared__ float scratch[kThreads / kWarpSize];
  const int64_t first = int64_t{blockIdx.x} * width;
  float squares = 0;
  for (int i = threadIdx.x; i < width; i += kThreads) {
    const float sum = x[first + i] + y[first + i];
    x[first + i] = sum;
    squares = fmaf(sum, sum, squares);
  }
  squares = block_sum(squares, scratch);
  const float scale = norm_scale(squares, width, eps);
  for (int i = threadIdx.x; i < width; i += kThreads) {
    normed[first + i] = x[first + i] * scale * weight[i];
  }
}

__device__ float silu(float x) { return x / (1.0f + expf(-x)); }

__device__ float gelu_tanh(float x) {
  constexpr float kRootTwoOverPi = 0.7978845608028654f;
  const float inner = kRootTwoOverPi * fmaf(0.044715f * x * x, x, x);
  return 0.5f * x * (1.0f + tanhf(inner));
}

// Rows across, as a grid may have few blocks downwards.
template <Activation kActivation>
__global__ void __launch_bounds__(kThreads)
    gated_kernel(const float* gate_up, int width, float* y) {
  const int column = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  if (column >= width) return;
  const float* row = gate_up + int64_t{blockIdx.x} * 2 * width;
  const float gate = row[column];
  y[int64_t{blockIdx.x} * width + column] =
      (kActivation == Activation::kSilu ? silu(gate) : gelu_tanh(gate)) * row[width + column];
}

__global__ void add_kernel(float* x, const float* y, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) x[i] += y[i];
}

__global__ void softcap_kernel(float cap, float* x, int64_t count) {
  for (int64_t i = first_index(); i < count; i += index_step()) x[i] = cap * tanhf(x[i] / cap);
}

constexpr int kGathered = 16;  // rows that a thread reads before it writes the first

// Blocks downwards share the rows. Where y is x there is one, whose threads move a column of all
// rows in their order: rows that are written there have been read, as no row moves down.
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const float* x, const int32_t* rows, int count, int64_t width, float* y) {
  const int64_t column = first_index();
  if (column >= width) return;
  const int step = static_cast<int>(gridDim.y) * kGathered;
  for (int first = static_cast<int>(blockIdx.y) * kGathered; first < count; first += step) {
    float values[kGathered];
#pragma unroll
    for (int i = 0; i < kGathered; ++i) {
      if (first + i < count) values[i] = x[rows[first + i] * width + column];
    }
#pragma unroll
    for (int i = 0; i < kGathered; ++i) {
      if (first + i < count) y[(first + i) * width + column] = values[i];
    }
  }
}

}  // namespace

void rms_norm(const float* x, const float* weight, int rows, int width, float eps, float* y,
              const Stream& stream) {
  if (rows == 0) return;
  launch(norm_kernel, rows, kThreads, 0, stream, x, weight, width, eps, y);
}

void add_and_norm(float* x, const float* y, const float* weight, int rows, int width, float eps,
                  float* normed, const Stream& stream) {
  if (rows == 0) return;
  launch(add_norm_kernel, rows, kThreads, 0, stream, x, y, weight, width, eps, normed);
}

void gated_activation(Activation activation, const float* gate_up, int rows, int ffn_width,
                      float* y, const Stream& stream) {
  if (rows == 0) return;
  const auto kernel = activation == Activation::kSilu ? gated_kernel<Activation::kSilu>
                                                      : gated_kernel<Activation::kGeluTanh>;
  const dim3 grid(rows, (ffn_width + kThreads - 1) / kThreads);
  launch(kernel, grid, kThreads, 0, stream, gate_up, ffn_width, y);
}

void add(float* x, const float* y, int64_t count, const Stream& stream) {
  if (count == 0) return;
  launch(add_kernel, blocks_for(count), kThreads, 0, stream, x, y, count);
}

void softcap(float cap, float* x, int64_t count, const Stream& stream) {
  if (count == 0) return;
  launch(softcap_kernel, blocks_for(count), kThreads, 0, stream, cap, x, count);
}

void gather_rows(const float* x, const int32_t* rows, int count, int64_t width, float* y,
                 const Stream& stream) {
  if (count == 0) return;
  constexpr int kMostDown = 1024;  // of a grid's 65535
  const auto across = static_cast<unsigned>((width + kThreads - 1) / kThreads);
  const int down = x == y ? 1 : std::min((count + kGathered - 1) / kGathered, kMostDown);
  launch(gather_kernel, dim3(across, static_cast<unsigned>(down)), kThreads, 0, stream, x, rows,
         count, width, y);
}

}  // namespace smore::cuda
