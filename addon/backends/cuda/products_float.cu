#include <algorithm>

#include "backends/cuda/dispatch.h"
#include "backends/cuda/products.h"
#include "backends/cuda/warp.h"
#include "backends/cuda/weights.h"

namespace smore::cuda {
namespace {

constexpr int kRows = 4;  // that a block computes at once
constexpr int kThreads = kMostChunks * kWarpSize;

// x[first .. first + 8) of a row; 0 beyond its columns.
__device__ __forceinline__ void read_inputs(const float* row, int first, int columns,
                                            float values[kLaneColumns]) {
  for (int j = 0; j < kLaneColumns; ++j) values[j] = first + j < columns ? row[first + j] : 0.0f;
}

// A block computes 16 outputs of kRows rows, each warp a chunk of the columns.
template <DType kType>
__global__ void __launch_bounds__(kThreads)
    float_kernel(TiledPart w, const float* x, int rows, const float* bias, float* y,
                 int64_t y_stride) {
  __shared__ float sums[kMostChunks][kRows][kTileOuts];
  const int lane = threadIdx.x % kWarpSize;
  const int chunk = threadIdx.x / kWarpSize;
  const int first_row = blockIdx.y * kRows;
  const int per_chunk = chunk_tiles(w.tiles);
  const int end = min(w.tiles, (chunk + 1) * per_chunk);
  float sum[kRows][2] = {};
  for (int block = chunk * per_chunk; block < end; ++block) {
    const int64_t tile = int64_t{blockIdx.x} * w.tiles + block;
    LaneTile<kType> stored;
    stored.read(w, tile, lane);
    float values[2][kLaneColumns];
    for (int half = 0; half < 2; ++half) stored.values(half, lane, values[half]);
    const int column = block * kTileColumns + lane % 4 * kLaneColumns;
    for (int r = 0; r < kRows; ++r) {
      if (first_row + r >= rows) break;
      float inputs[kLaneColumns];
      read_inputs(x + int64_t{first_row + r} * w.columns, column, w.columns, inputs);
      for (int half = 0; half < 2; ++half) {
        for (int j = 0; j < kLaneColumns; ++j) {
          sum[r][half] = fmaf(values[half][j], inputs[j], sum[r][half]);
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int half = 0; half < 2; ++half) {
      float value = sum[r][half];
      value += __shfl_xor_sync(kAllLanes, value, 1);
      value += __shfl_xor_sync(kAllLanes, value, 2);
      if (lane % 4 == 0) sums[chunk][r][lane / 4 + 8 * half] = value;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kRows * kTileOuts; i += blockDim.x) {
    const int r = i / kTileOuts;
    const int out = blockIdx.x * kTileOuts + i % kTileOuts;
    if (first_row + r >= rows || out >= w.outs) continue;
    float total = sums[0][r][i % kTileOuts];
    for (int c = 1; c < chunk_count(w.tiles); ++c) total += sums[c][r][i % kTileOuts];
    if (bias != nullptr) total += bias[w.first_out + out];
    y[(first_row + r) * y_stride + w.first_out + out] = total;
  }
}

// A warp reads 32 columns of a row in eight lanes' parts; each thread writes 8 columns.
template <DType kType>
__global__ void embed_kernel(TiledPart table, TokenRows rows, float scale, float* x) {
  const int slot = rows.slots == nullptr ? kOwnToken : rows.slots[blockIdx.x];
  const int token = slot == kOwnToken ? rows.tokens[blockIdx.x] : rows.slot_tokens[slot];
  const int half = token % kTileOuts / 8;
  for (int i = threadIdx.x; i < table.tiles * 4; i += blockDim.x) {
    const int64_t tile = int64_t{token / kTileOuts} * table.tiles + i / 4;
    const int lane = token % 8 * 4 + i % 4;
    LaneTile<kType> stored;
    stored.read(table, tile, lane);
    float values[kLaneColumns];
    stored.values(half, lane, values);
    for (int j = 0; j < kLaneColumns; ++j) {
      const int column = i * kLaneColumns + j;
      if (column < table.columns)
        x[int64_t{blockIdx.x} * table.columns + column] = values[j] * scale;
    }
  }
}

}  // namespace

void float_product(const TiledPart& w, const float* x, int rows, const float* bias, float* y,
                   int64_t y_stride, const Stream& stream) {
  if (rows == 0) return;
  const dim3 grid((w.outs + kTileOuts - 1) / kTileOuts, (rows + kRows - 1) / kRows);
  const int threads = chunk_count(w.tiles) * kWarpSize;
  with_type(w.dtype, [&](auto stored) {
    launch(float_kernel<stored.value>, grid, threads, 0, stream, w, x, rows, bias, y, y_stride);
  });
}

void embed(const TiledPart& table, const TokenRows& tokens, int rows, float scale, float* x,
           const Stream& stream) {
  if (rows == 0) return;
  constexpr int kEmbedThreads = 128;
  with_type(table.dtype, [&](auto stored) {
    launch(embed_kernel<stored.value>, rows, kEmbedThreads, 0, stream, table, tokens, scale, x);
  });
}

}  // namespace smore::cuda
