#pragma once

#include <cstdint>

#include "backends/cuda/matrix.h"
#include "backends/cuda/runtime.h"

// Products with tiled matrices. The columns are cut in at most kMostChunks chunks by their number
// alone; a chunk is summed in its order and the chunks' sums are added in theirs, whatever the
// number of rows and the kernel that computes them: a row has the same bits in every batch.

namespace smore::cuda {

inline constexpr int kMostChunks = 8;

// Tiles of a row that one chunk has.
constexpr int chunk_tiles(int tiles) { return (tiles + kMostChunks - 1) / kMostChunks; }

constexpr int chunk_count(int tiles) {
  return (tiles + chunk_tiles(tiles) - 1) / chunk_tiles(tiles);
}

// y[t, first_out + o] = W x[t] + bias, in float32.      x: [rows, columns], y: [rows, y_stride]
void float_product(const TiledPart& w, const float* x, int rows, const float* bias, float* y,
                   int64_t y_stride, const Stream& stream);

// The same with inputs, and weights that are not bfloat16, rounded to bfloat16 for tensor cores;
// sums are float32. Not for weights in float32.
//   rounded: what round_inputs() made of x, tensor_scratch() bytes, a multiple of 256
size_t tensor_scratch(int columns, int rows);
void round_inputs(const float* x, int columns, int rows, std::byte* rounded, const Stream& stream);
void tensor_product(const TiledPart& w, const float* x, int rows, const float* bias,
                    const std::byte* rounded, float* y, int64_t y_stride, const Stream& stream);

// x[t] = table[token of row t] * scale.                  tokens: the device's
void embed(const TiledPart& table, const TokenRows& tokens, int rows, float scale, float* x,
           const Stream& stream);

}  // namespace smore::cuda
