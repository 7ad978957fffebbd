#include "backends/cpu/grid.h"

#include <algorithm>
#include <cstdint>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

// Panels that a chunk works on stay in a core's second-level cache while its rows pass.
constexpr size_t kChunkBytes = 192 * 1024;
constexpr int kRowGroup = 64;

int divide_up(int value, int unit) { return (value + unit - 1) / unit; }

Grid cut_into(int panels, int panels_per_chunk, int rows, int row_chunks) {
  Grid grid{};
  grid.panels = panels;
  grid.panels_per_chunk = panels_per_chunk;
  grid.panel_chunks = divide_up(panels, panels_per_chunk);
  grid.rows_per_chunk = divide_up(divide_up(rows, row_chunks), kRowUnit) * kRowUnit;
  grid.row_chunks = divide_up(rows, grid.rows_per_chunk);
  return grid;
}

// What the thread that works longest computes, where all are equally fast: panels times rows.
int64_t longest_share(const Grid& grid, int threads) {
  const int64_t chunks = int64_t{grid.panel_chunks} * grid.row_chunks;
  return (chunks + threads - 1) / threads * grid.panels_per_chunk * grid.rows_per_chunk;
}

}  // namespace

// Kernels take two panels at a time.
Grid cut(int panels, size_t panel_bytes, int rows, int threads) {
  const int wanted = threads * kChunksPerThread;
  const int fitting = static_cast<int>(kChunkBytes / panel_bytes);
  const int most = std::max(2, std::min(panels / wanted, fitting) / 2 * 2);
  const int most_row_chunks = divide_up(rows, kRowGroup);
  Grid best{};
  for (int row_chunks = 1; row_chunks <= most_row_chunks; row_chunks *= 2) {
    for (int size = most; size >= 2; size -= 2) {
      const Grid grid = cut_into(panels, size, rows, row_chunks);
      if (best.panels > 0 && longest_share(grid, threads) >= longest_share(best, threads)) continue;
      best = grid;
    }
  }
  return best;
}

int walk_place(int turn, int count, int walks) {
  const int walk = turn % walks;
  const int longer = count % walks;  // stretches that have one more
  return walk * (count / walks) + std::min(walk, longer) + turn / walks;
}

}  // namespace smore
