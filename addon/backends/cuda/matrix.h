#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/runtime.h"
#include "core/dtype.h"
#include "core/thread_pool.h"

namespace smore::cuda {

// A matrix on the device is tiles of 16 outputs by 32 columns, the tiles of 16 outputs one after
// the other. In a tile every lane of a warp owns 8 consecutive columns of two outputs: lane l has
// columns 8 (l % 4) .. 8 (l % 4) + 7 of outputs l / 4 (half 0) and l / 4 + 8 (half 1). That is what
// a tensor core's fragments ask for, but for the order of columns, in which a sum may take them as
// it likes; and a warp reads a tile as consecutive bytes. What lies beyond the last output and
// column is 0.
inline constexpr int kTileOuts = 16;
inline constexpr int kTileColumns = 32;
inline constexpr int kLaneColumns = 8;
inline constexpr int kSuperTiles = 8;  // tiles whose outputs share a K-quant's super-scale

// Bytes of a tile in each plane of a part.
struct TileBytes {
  int codes;   // floats: [half][lane][8]; Q8_0: [lane][half][8]; others: [lane][half] 8 nibbles
  int high;    // fifth bits: [lane][half] a byte; Q6_K's fifth and sixth: [lane][half] 8 x 2 bits
  int scales;  // [16] a half, or scale and minimum; K-quants: two bytes as in the file
  int supers;  // K-quants, of kSuperTiles tiles: [16] a half, or scale and minimum
};

constexpr TileBytes tile_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return {2048, 0, 0, 0};
    case DType::kF16:
    case DType::kBF16:
      return {1024, 0, 0, 0};
    case DType::kQ8_0:
      return {512, 0, 32, 0};
    case DType::kQ4_0:
      return {256, 0, 32, 0};
    case DType::kQ4_1:
      return {256, 0, 64, 0};
    case DType::kQ5_0:
      return {256, 64, 32, 0};
    case DType::kQ5_1:
      return {256, 64, 64, 0};
    case DType::kQ4_K:
      return {256, 0, 32, 64};
    case DType::kQ5_K:
      return {256, 64, 32, 64};
    case DType::kQ6_K:
      return {256, 128, 32, 32};
    default:
      return {0, 0, 0, 0};
  }
}

// Outputs [first_out, first_out + outs) of a matrix, of one type. Pointers are the device's.
struct TiledPart {
  DType dtype = DType::kF32;
  int first_out = 0;
  int outs = 0;
  int columns = 0;
  int tiles = 0;  // along a row
  const std::byte* codes = nullptr;
  const std::byte* high = nullptr;
  const std::byte* scales = nullptr;
  const std::byte* supers = nullptr;
};

class TiledMatrix final : public Matrix {
 public:
  TiledMatrix(std::span<const MatrixSource> sources, ThreadPool& threads, const Stream& stream);

  int64_t rows() const override { return rows_; }
  int64_t columns() const override { return columns_; }
  size_t bytes() const override { return bytes_; }
  const std::vector<TiledPart>& parts() const { return parts_; }

 private:
  int64_t rows_ = 0;
  int64_t columns_ = 0;
  size_t bytes_ = 0;
  std::vector<TiledPart> parts_;
  std::vector<DeviceMemory> memory_;  // of each part
};

}  // namespace smore::cuda
