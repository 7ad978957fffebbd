#include "backends/cuda/panels.h"

#include <algorithm>

#include "backends/cuda/dispatch.h"
#include "backends/cuda/warp.h"
#include "backends/cuda/weights.h"
#include "core/check.h"

namespace smore::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kWarpTiles = 4;       // that a warp has under way
constexpr int kPanelUnit = 128;     // outputs: a block's of most kernels
constexpr int kMostBlocks = 65535;  // downwards

// Outputs [begin, end) of a part as rows [0, end - begin) of a panel, [.., tiles * 32] in bfloat16.
template <DType kType>
__global__ void __launch_bounds__(kThreads)
    unpack_kernel(TiledPart w, int begin, int end, uint4* panel) {
  const int lane = threadIdx.x % kWarpSize;
  const int row_of_tiles = begin / kTileOuts + static_cast<int>(blockIdx.y);
  const int first = static_cast<int>(blockIdx.x) * kWarps * kWarpTiles +
                    static_cast<int>(threadIdx.x) / kWarpSize;
  const int64_t first_tile = int64_t{row_of_tiles} * w.tiles;
  LaneTile<kType> stored[kWarpTiles];
#pragma unroll
  for (int i = 0; i < kWarpTiles; ++i) {
    if (first + i * kWarps < w.tiles) stored[i].read(w, first_tile + first + i * kWarps, lane);
  }
#pragma unroll
  for (int i = 0; i < kWarpTiles; ++i) {
    const int tile = first + i * kWarps;
    if (tile >= w.tiles) break;
    for (int half = 0; half < 2; ++half) {
      const int out = row_of_tiles * kTileOuts + lane / 4 + 8 * half;
      if (out < begin || out >= end) continue;
      unsigned pairs[4];
      round_weights<kType>(stored[i], half, lane, pairs);
      panel[(int64_t{out - begin} * w.tiles + tile) * 4 + lane % 4] =
          make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
  }
}

// A block for each row.
__global__ void __launch_bounds__(kThreads)
    bias_kernel(const float* bias, int outs, float* y, int64_t y_stride) {
  float* row = y + blockIdx.x * y_stride;
  for (int i = threadIdx.x; i < outs; i += kThreads) row[i] += bias[i];
}

void unpack(const TiledPart& w, int begin, int end, std::byte* panel, const Stream& stream) {
  constexpr int kBlockTiles = kWarps * kWarpTiles;
  const dim3 grid((w.tiles + kBlockTiles - 1) / kBlockTiles,
                  (end + kTileOuts - 1) / kTileOuts - begin / kTileOuts);
  SMORE_CHECK(grid.y <= kMostBlocks, "a panel of more outputs than a grid has blocks");
  with_type(w.dtype, [&](auto stored) {
    launch(unpack_kernel<stored.value>, grid, kThreads, 0, stream, w, begin, end,
           reinterpret_cast<uint4*>(panel));
  });
}

int end_of(const TiledPart& part) { return part.first_out + part.outs; }

bool has_floats(const TiledPart& part) { return part.dtype == DType::kF32; }

}  // namespace

PanelProducts::PanelProducts(const std::string& cublaslt, size_t panel_bytes)
    : cublaslt_(cublaslt), panel_bytes_(panel_bytes) {}

// As few panels as fit, of the same number of outputs each but for the last.
std::vector<PanelProducts::Panel> PanelProducts::panels_of(std::span<const TiledPart> parts,
                                                           int64_t y_stride) const {
  std::vector<Panel> panels;
  for (size_t begin = 0; begin < parts.size(); ++begin) {
    if (has_floats(parts[begin])) continue;
    const auto floats = std::find_if(parts.begin() + begin, parts.end(), has_floats);
    const std::span<const TiledPart> run(parts.begin() + begin, floats);
    begin = static_cast<size_t>(floats - parts.begin());
    const int columns = run[0].tiles * kTileColumns;
    // A panel that begins within a tile has a block more.
    const int fitting = static_cast<int>(
        std::min<size_t>(panel_bytes_ / sizeof(uint16_t) / columns, (kMostBlocks - 1) * kTileOuts));
    SMORE_CHECK(fitting > 0, "a row of weights is larger than a panel");
    const int outs = end_of(run.back()) - run[0].first_out;
    const bool whole = outs <= fitting || fitting < kPanelUnit;
    const int most = whole ? fitting : fitting / kPanelUnit * kPanelUnit;
    const int count = (outs + most - 1) / most;
    const int even = (outs + count - 1) / count;
    const int each = std::min(most, (even + kPanelUnit - 1) / kPanelUnit * kPanelUnit);
    for (int first = run[0].first_out; first < end_of(run.back()); first += each) {
      constexpr int kWord = 4;  // floats
      const bool aligned = first % kWord == 0 && y_stride % kWord == 0;
      panels.push_back({run,
                        first,
                        {.outs = std::min(each, end_of(run.back()) - first),
                         .columns = columns,
                         .y_stride = y_stride,
                         .y_alignment = static_cast<int>((aligned ? kWord : 1) * sizeof(float))}});
    }
  }
  return panels;
}

void PanelProducts::expect(const TiledMatrix& matrix) {
  for (const Panel& panel : panels_of(matrix.parts(), matrix.rows())) {
    expected_.push_back(panel.shape);
  }
}

void PanelProducts::reserve(int most_rows) {
  most_rows_ = most_rows;
  if (most_rows < kLeastRows) return;
  for (const CublasLt::Shape& shape : expected_) choose(shape, most_rows);
}

void PanelProducts::choose(const CublasLt::Shape& shape, int most_rows) {
  if (!cublaslt_.chosen(shape)) cublaslt_.choose(shape, kLeastRows, most_rows);
}

void PanelProducts::multiply(std::span<const TiledPart> parts, const std::byte* rounded, int rows,
                             const float* bias, float* y, int64_t y_stride, std::byte* scratch,
                             const Stream& stream) {
  SMORE_CHECK(rows >= kLeastRows, "few rows are not multiplied by panels");
  std::byte* const workspace = scratch + panel_bytes_;
  for (const Panel& panel : panels_of(parts, y_stride)) {
    const size_t row_bytes = sizeof(uint16_t) * panel.shape.columns;
    const int end = panel.first_out + panel.shape.outs;
    for (const TiledPart& part : panel.parts) {
      const int from = std::max(part.first_out, panel.first_out);
      const int to = std::min(end_of(part), end);
      if (from >= to) continue;
      unpack(part, from - part.first_out, to - part.first_out,
             scratch + row_bytes * (from - panel.first_out), stream);
    }
    choose(panel.shape, std::max(rows, most_rows_));  // unless it was at load
    float* const out = y + panel.first_out;
    SMORE_CHECK(reinterpret_cast<uintptr_t>(out) % panel.shape.y_alignment == 0,
                "outputs of a product are not aligned");
    cublaslt_.multiply(panel.shape, scratch, rounded, rows, out, workspace, stream);
    if (bias == nullptr) continue;
    launch(bias_kernel, rows, kThreads, 0, stream, bias + panel.first_out, panel.shape.outs, out,
           y_stride);
  }
}

}  // namespace smore::cuda
