#include "backends/cpu/grid.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

TEST_CASE(
    "a product is cut into chunks of every panel and row once, of which each thread has some") {
  std::mt19937 random(23);
  for (int round = 0; round < 2000; ++round) {
    const int panels = 1 + static_cast<int>(random() % (round % 2 == 0 ? 40 : 4000));
    const size_t panel_bytes = 1 + random() % (round % 3 == 0 ? 1 << 20 : 1 << 12);
    const int rows = 1 + static_cast<int>(random() % (round % 5 == 0 ? 2100 : 40));
    const int threads = 1 + static_cast<int>(random() % 70);
    CAPTURE(panels);
    CAPTURE(panel_bytes);
    CAPTURE(rows);
    CAPTURE(threads);
    const Grid grid = cut(panels, panel_bytes, rows, threads);
    REQUIRE(grid.panels == panels);
    REQUIRE(grid.panels_per_chunk >= 1);
    // The last chunk of a row of them holds what is left, which is something.
    CHECK(grid.panel_chunks * grid.panels_per_chunk >= panels);
    CHECK((grid.panel_chunks - 1) * grid.panels_per_chunk < panels);
    CHECK(grid.row_chunks * grid.rows_per_chunk >= rows);
    CHECK((grid.row_chunks - 1) * grid.rows_per_chunk < rows);
    // What kernels ask for.
    CHECK(grid.panels_per_chunk % 2 == 0);
    CHECK(grid.rows_per_chunk % kRowUnit == 0);
    CHECK(int64_t{grid.panel_chunks} * grid.row_chunks >= std::min((panels + 1) / 2, threads));
  }
}

TEST_CASE("each thread walks through chunks that lie one after the other, all of them once") {
  for (int count = 1; count <= 40; ++count) {
    for (int walks = 1; walks <= 12; ++walks) {
      CAPTURE(count);
      CAPTURE(walks);
      std::vector<int> places(count);
      for (int turn = 0; turn < count; ++turn) {
        places[turn] = walk_place(turn, count, walks);
        if (turn >= walks) CHECK(places[turn] == places[turn - walks] + 1);
      }
      std::sort(places.begin(), places.end());
      std::vector<int> all(count);
      std::iota(all.begin(), all.end(), 0);
      CHECK(places == all);
    }
  }
}

}  // namespace
}  // namespace smore
