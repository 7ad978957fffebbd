#include <cstring>

#include "backends/cpu/source_block.h"
#include "backends/cuda/matrix.h"
#include "backends/matrix_source.h"

namespace smore::cuda {
namespace {

bool is_float(DType dtype) { return dtype_info(dtype).block == 1; }

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// Where the planes of a part begin in its memory.
struct Planes {
  size_t high, scales, supers, end;
};

Planes planes(const TiledPart& part) {
  constexpr size_t kAlignment = 256;
  const TileBytes bytes = tile_bytes(part.dtype);
  const size_t outs = (part.outs + kTileOuts - 1) / kTileOuts;
  const size_t tiles = outs * part.tiles;
  Planes p{};
  p.high = round_up(tiles * bytes.codes, kAlignment);
  p.scales = round_up(p.high + tiles * bytes.high, kAlignment);
  p.supers = round_up(p.scales + tiles * bytes.scales, kAlignment);
  p.end = p.supers + outs * (part.tiles / kSuperTiles) * bytes.supers;
  return p;
}

// Packs 32 columns of a row, `lane_row` of its 16.
void put_codes(DType dtype, const uint8_t* codes, int lane_row, std::byte* tile, std::byte* high) {
  const int half = lane_row / 8;
  const TileBytes bytes = tile_bytes(dtype);
  for (int i = 0; i < kTileColumns; ++i) {
    const int lane = lane_row % 8 * 4 + i / kLaneColumns;
    const int j = i % kLaneColumns;
    if (dtype == DType::kQ8_0) {
      tile[(lane * 2 + half) * 8 + j] = std::byte{codes[i]};
      continue;
    }
    tile[(lane * 2 + half) * 4 + j / 2] |= std::byte(codes[i] & 15) << (j % 2 * 4);
    if (bytes.high == 64) high[lane * 2 + half] |= std::byte(codes[i] >> 4) << j;
    if (bytes.high == 128) {
      high[(lane * 2 + half) * 2 + j / 4] |= std::byte(codes[i] >> 4) << (j % 4 * 2);
    }
  }
}

void put_halves(std::byte* to, int row, bool both, const SourceBlock& block) {
  const uint16_t values[] = {block.scale, block.minimum};
  std::memcpy(to + row * (both ? 4 : 2), values, both ? 4 : 2);
}

void pack_quantised(const MatrixSource& source, const TiledPart& part, const Planes& p, int64_t out,
                    std::byte* memory) {
  const TileBytes bytes = tile_bytes(part.dtype);
  const auto* row = static_cast<const uint8_t*>(source.tensor.data) +
                    source_row(source, out) * row_bytes(part.dtype, part.columns);
  const int lane_row = static_cast<int>(out % kTileOuts);
  for (int64_t block = 0; block < part.tiles; ++block) {
    const int64_t tile = out / kTileOuts * part.tiles + block;
    const SourceBlock from = read_block(part.dtype, row, block);
    put_codes(part.dtype, from.codes, lane_row, memory + tile * bytes.codes,
              memory + p.high + tile * bytes.high);
    std::byte* scales = memory + p.scales + tile * bytes.scales;
    if (bytes.supers == 0) {
      put_halves(scales, lane_row, bytes.scales == 64, from);
      continue;
    }
    std::memcpy(scales + lane_row * 2, from.small, 2);
    put_halves(memory + p.supers + tile / kSuperTiles * bytes.supers, lane_row, bytes.supers == 64,
               from);
  }
}

void pack_float(const MatrixSource& source, const TiledPart& part, int64_t out, std::byte* memory) {
  const TileBytes bytes = tile_bytes(part.dtype);
  const size_t size = row_bytes(part.dtype, 1);
  const auto* row = static_cast<const std::byte*>(source.tensor.data) +
                    source_row(source, out) * part.columns * size;
  const int64_t lane_row = out % kTileOuts;
  for (int64_t column = 0; column < part.columns; column += kLaneColumns) {
    const int64_t tile = out / kTileOuts * part.tiles + column / kTileColumns;
    const int64_t lane = lane_row % 8 * 4 + column % kTileColumns / kLaneColumns;
    std::memcpy(memory + tile * bytes.codes + (lane_row / 8 * 32 + lane) * kLaneColumns * size,
                row + column * size, std::min<int64_t>(kLaneColumns, part.columns - column) * size);
  }
}

}  // namespace

TiledMatrix::TiledMatrix(std::span<const MatrixSource> sources, ThreadPool& threads,
                         const Stream& stream) {
  columns_ = sources[0].tensor.shape[1];
  for (const MatrixSource& source : sources) {
    check_matrix_source(source, columns_);
    TiledPart part{.dtype = source.tensor.dtype,
                   .first_out = static_cast<int>(rows_),
                   .outs = static_cast<int>(source.tensor.shape[0]),
                   .columns = static_cast<int>(columns_),
                   .tiles = static_cast<int>((columns_ + kTileColumns - 1) / kTileColumns)};
    const Planes p = planes(part);
    std::vector<std::byte> packed(p.end);
    threads.for_each((part.outs + kTileOuts - 1) / kTileOuts, [&](int64_t tile) {
      const int64_t end = std::min<int64_t>(part.outs, (tile + 1) * kTileOuts);
      for (int64_t out = tile * kTileOuts; out < end; ++out) {
        is_float(part.dtype) ? pack_float(source, part, out, packed.data())
                             : pack_quantised(source, part, p, out, packed.data());
      }
    });
    memory_.emplace_back(p.end);
    copy_to_device(memory_.back().data(), packed.data(), p.end, stream);
    stream.synchronize();
    part.codes = memory_.back().data();
    part.high = part.codes + p.high;
    part.scales = part.codes + p.scales;
    part.supers = part.codes + p.supers;
    parts_.push_back(part);
    rows_ += part.outs;
    bytes_ += p.end;
  }
}

}  // namespace smore::cuda
