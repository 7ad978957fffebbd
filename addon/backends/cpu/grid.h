#pragma once

#include <cstddef>

namespace smore {

// Enough for a late thread to find work, few enough to cost nothing.
inline constexpr int kChunksPerThread = 4;

// How a product is cut: groups of panels (counted over all parts) times groups of rows.
struct Grid {
  int panels;  // of all parts
  int panels_per_chunk;
  int panel_chunks;
  int rows_per_chunk;
  int row_chunks;
};

// Into enough chunks a thread for a late one to find some, which give all threads the same work; of
// those into the largest that stay in a core's cache. Panels of so many bytes each; rows >= 1.
Grid cut(int panels, size_t panel_bytes, int rows, int threads);

// Where the turn-th of `count` chunks lies. Chunks are handed out in turn to `walks` threads: each
// gets its own stretch to walk through, since kernels ask for the memory that follows. A thread
// that falls behind changes stretches with another, no more.
int walk_place(int turn, int count, int walks);

}  // namespace smore
