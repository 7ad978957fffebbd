#include <algorithm>

#include "backends/cuda/dispatch.h"
#include "backends/cuda/products.h"
#include "backends/cuda/warp.h"
#include "backends/cuda/weights.h"

namespace smore::cuda {
namespace {

constexpr int kRowTile = 8;         // rows of one product of a warp
constexpr int kUnroundedRows = 16;  // up to so many, inputs are rounded in passing
constexpr int kFewRows = 128;       // up to so many, the warps of a block share the columns
constexpr int kAheadTiles = 4;      // that a warp reads before they are used
constexpr int kRoundThreads = 256;

// 8 values of a row from `column` on, rounded; 0 where the row or the column is none.
__device__ __forceinline__ void read_rounded(const float* x, int row, int rows, int column,
                                             int columns, unsigned pairs[4]) {
  float values[kLaneColumns] = {};
  if (row < rows) {
    const float* from = x + int64_t{row} * columns + column;
    if (columns % 4 == 0 && column + kLaneColumns <= columns) {
      const float4 a = reinterpret_cast<const float4*>(from)[0];
      const float4 b = reinterpret_cast<const float4*>(from)[1];
      values[0] = a.x, values[1] = a.y, values[2] = a.z, values[3] = a.w;
      values[4] = b.x, values[5] = b.y, values[6] = b.z, values[7] = b.w;
    } else {
      for (int j = 0; j < kLaneColumns && column + j < columns; ++j) values[j] = from[j];
    }
  }
  for (int i = 0; i < 4; ++i) pairs[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
}

// The same of inputs that round_kernel() has rounded.
__device__ __forceinline__ void read_rounded(const uint4* rounded, int row, int rows, int column,
                                             int columns, unsigned pairs[4]) {
  const int groups = (columns + kTileColumns - 1) / kTileColumns * (kTileColumns / kLaneColumns);
  const uint4 four =
      row < rows ? rounded[int64_t{row} * groups + column / kLaneColumns] : make_uint4(0, 0, 0, 0);
  pairs[0] = four.x, pairs[1] = four.y, pairs[2] = four.z, pairs[3] = four.w;
}

// Each warp sums a chunk of the columns for 16 kOutTiles outputs; then the block adds the chunks: a
// step of few rows has blocks for all of a device, and they have many reads of weights under way.
// Blocks of the same weights follow each other, so that the later ones find them in the cache.
// Input: float, or uint4 where the inputs have been rounded
template <DType kType, int kOutTiles, int kRowTiles, class Input>
__global__ void __launch_bounds__(kMostChunks* kWarpSize)
    few_rows_kernel(TiledPart w, const Input* x, int rows, const float* bias, float* y,
                    int64_t y_stride) {
  constexpr int kRows = kRowTiles * kRowTile;
  constexpr int kAhead = kAheadTiles / kOutTiles;
  __shared__ float sums[kMostChunks][kRows][kTileOuts];
  const int lane = threadIdx.x % kWarpSize;
  const int chunk = threadIdx.x / kWarpSize;
  const int row_blocks = (rows + kRows - 1) / kRows;
  const int first_row = static_cast<int>(blockIdx.x) % row_blocks * kRows;
  const int first_out = static_cast<int>(blockIdx.x) / row_blocks * kOutTiles;
  const int per_chunk = chunk_tiles(w.tiles);
  const int begin = chunk * per_chunk;
  const int end = min(w.tiles, begin + per_chunk);
  // Beyond the last output the last one's tile again: its sums go nowhere.
  const int last_out = (w.outs - 1) / kTileOuts;
  const auto read = [&](LaneTile<kType>* to, int block) {
#pragma unroll
    for (int m = 0; m < kOutTiles; ++m) {
      to[m].read(w, int64_t{min(first_out + m, last_out)} * w.tiles + block, lane);
    }
  };
  FragmentC sum[kOutTiles][kRowTiles] = {};
  LaneTile<kType> ahead[kAhead][kOutTiles];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    if (begin + i < end) read(ahead[i], begin + i);
  }
  for (int block = begin; block < end; block += kAhead) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (block + i >= end) break;
      FragmentA a[kOutTiles][2];
#pragma unroll
      for (int m = 0; m < kOutTiles; ++m) pack_weights<kType>(ahead[i][m], lane, a[m]);
      if (block + i + kAhead < end) read(ahead[i], block + i + kAhead);
      const int column = (block + i) * kTileColumns + lane % 4 * kLaneColumns;
#pragma unroll
      for (int n = 0; n < kRowTiles; ++n) {
        unsigned pairs[4];
        FragmentB b[2];
        read_rounded(x, first_row + n * kRowTile + lane / 4, rows, column, w.columns, pairs);
        pack_inputs(pairs, b);
#pragma unroll
        for (int m = 0; m < kOutTiles; ++m) {
          for (int s = 0; s < 2; ++s) multiply_accumulate(sum[m][n], a[m][s], b[s]);
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kOutTiles; ++m) {
    if (m > 0) __syncthreads();  // the sums before have been read
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
      for (int i = 0; i < 4; ++i) {
        sums[chunk][n * kRowTile + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sum[m][n].x[i];
      }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < kRows * kTileOuts; i += blockDim.x) {
      const int row = first_row + i / kTileOuts;
      const int out = (first_out + m) * kTileOuts + i % kTileOuts;
      if (row >= rows || out >= w.outs) continue;
      float total = 0;
      for (int c = 0; c < chunk_count(w.tiles); ++c) total += sums[c][i / kTileOuts][i % kTileOuts];
      if (bias != nullptr) total += bias[w.first_out + out];
      y[row * y_stride + w.first_out + out] = total;
    }
  }
}

// [rows, padded columns] in bfloat16, 0 beyond the columns.
__global__ void round_kernel(const float* x, int columns, int padded, uint4* rounded) {
  const int groups = padded / kLaneColumns;
  for (int i = threadIdx.x; i < groups; i += blockDim.x) {
    unsigned pairs[4];
    read_rounded(x + int64_t{blockIdx.x} * columns, 0, 1, i * kLaneColumns, columns, pairs);
    rounded[int64_t{blockIdx.x} * groups + i] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }
}

// A block computes 128 outputs of 128 rows, each of its 2 x 4 warps 64 of the outputs and 32 of the
// rows. Warps that share weights or inputs find them in the first-level cache.
constexpr int kWarpOutTiles = 4;
constexpr int kWarpRowTiles = 4;
constexpr int kOutWarps = 2;
constexpr int kRowWarps = 4;
constexpr int kManyThreads = kOutWarps * kRowWarps * kWarpSize;

template <DType kType>
__global__ void __launch_bounds__(kManyThreads)
    many_rows_kernel(TiledPart w, const uint4* rounded, int rows, const float* bias, float* y,
                     int64_t y_stride) {
  const int lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize;
  const int out_tiles = (w.outs + kTileOuts - 1) / kTileOuts;
  const int first_out = (blockIdx.x * kOutWarps + warp % kOutWarps) * kWarpOutTiles;
  const int first_row = (blockIdx.y * kRowWarps + warp / kOutWarps) * kWarpRowTiles * kRowTile;
  FragmentC total[kWarpOutTiles][kWarpRowTiles] = {};
  const int per_chunk = chunk_tiles(w.tiles);
  for (int begin = 0; begin < w.tiles; begin += per_chunk) {
    FragmentC sum[kWarpOutTiles][kWarpRowTiles] = {};
    const int end = min(w.tiles, begin + per_chunk);
    for (int block = begin; block < end; ++block) {
      FragmentB b[kWarpRowTiles][2];
#pragma unroll
      for (int n = 0; n < kWarpRowTiles; ++n) {
        const int row = first_row + n * kRowTile + lane / 4;
        const int column = block * kTileColumns + lane % 4 * kLaneColumns;
        unsigned pairs[4];
        read_rounded(rounded, row, rows, column, w.columns, pairs);
        pack_inputs(pairs, b[n]);
      }
#pragma unroll
      for (int m = 0; m < kWarpOutTiles; ++m) {
        // Beyond the last output the last one's tile again: its sums go nowhere.
        const int out = min(first_out + m, out_tiles - 1);
        LaneTile<kType> stored;
        stored.read(w, int64_t{out} * w.tiles + block, lane);
        FragmentA a[2];
        pack_weights<kType>(stored, lane, a);
#pragma unroll
        for (int n = 0; n < kWarpRowTiles; ++n) {
          for (int s = 0; s < 2; ++s) multiply_accumulate(sum[m][n], a[s], b[n][s]);
        }
      }
    }
#pragma unroll
    for (int m = 0; m < kWarpOutTiles; ++m) {
      for (int n = 0; n < kWarpRowTiles; ++n) {
        for (int i = 0; i < 4; ++i) total[m][n].x[i] += sum[m][n].x[i];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kWarpOutTiles; ++m) {
    for (int n = 0; n < kWarpRowTiles; ++n) {
      for (int i = 0; i < 4; ++i) {
        const int out = (first_out + m) * kTileOuts + lane / 4 + i / 2 * 8;
        const int row = first_row + n * kRowTile + lane % 4 * 2 + i % 2;
        if (row >= rows || out >= w.outs) continue;
        const float value = total[m][n].x[i];
        y[row * y_stride + w.first_out + out] =
            bias != nullptr ? value + bias[w.first_out + out] : value;
      }
    }
  }
}

unsigned divide_up(int value, int unit) { return static_cast<unsigned>((value + unit - 1) / unit); }

template <DType kType, int kOutTiles, int kRowTiles, class Input>
void few_rows(const TiledPart& w, const Input* x, int rows, const float* bias, float* y,
              int64_t y_stride, const Stream& stream) {
  const unsigned grid =
      divide_up(w.outs, kOutTiles * kTileOuts) * divide_up(rows, kRowTiles * kRowTile);
  launch(few_rows_kernel<kType, kOutTiles, kRowTiles, Input>, grid,
         chunk_count(w.tiles) * kWarpSize, 0, stream, w, x, rows, bias, y, y_stride);
}

template <DType kType>
void many_rows(const TiledPart& w, const uint4* rounded, int rows, const float* bias, float* y,
               int64_t y_stride, const Stream& stream) {
  const dim3 grid(divide_up(w.outs, kOutWarps * kWarpOutTiles * kTileOuts),
                  divide_up(rows, kRowWarps * kWarpRowTiles * kRowTile));
  launch(many_rows_kernel<kType>, grid, kManyThreads, 0, stream, w, rounded, rows, bias, y,
         y_stride);
}

int padded_columns(int columns) {
  return (columns + kTileColumns - 1) / kTileColumns * kTileColumns;
}

}  // namespace

size_t tensor_scratch(int columns, int rows) {
  constexpr size_t kAlignment = 256;
  const size_t bytes = rows <= kUnroundedRows ? 0 : size_t{2} * padded_columns(columns) * rows;
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void round_inputs(const float* x, int columns, int rows, std::byte* rounded, const Stream& stream) {
  if (rows <= kUnroundedRows) return;
  launch(round_kernel, rows, kRoundThreads, 0, stream, x, columns, padded_columns(columns),
         reinterpret_cast<uint4*>(rounded));
}

void tensor_product(const TiledPart& w, const float* x, int rows, const float* bias,
                    const std::byte* rounded, float* y, int64_t y_stride, const Stream& stream) {
  if (rows == 0) return;
  const auto* inputs = reinterpret_cast<const uint4*>(rounded);
  with_type(w.dtype, [&](auto stored) {
    constexpr DType kType = stored.value;
    if constexpr (kType == DType::kF32) {
      SMORE_CHECK(false, "weights in float32 are no tensor core's");
    } else if (rows <= kRowTile) {
      few_rows<kType, 1, 1>(w, x, rows, bias, y, y_stride, stream);
    } else if (rows <= kUnroundedRows) {
      few_rows<kType, 1, 2>(w, x, rows, bias, y, y_stride, stream);
    } else if (rows <= 4 * kRowTile) {
      few_rows<kType, 2, 4>(w, inputs, rows, bias, y, y_stride, stream);
    } else if (rows <= kFewRows) {
      few_rows<kType, 2, 8>(w, inputs, rows, bias, y, y_stride, stream);
    } else {
      many_rows<kType>(w, inputs, rows, bias, y, y_stride, stream);
    }
  });
}

}  // namespace smore::cuda
