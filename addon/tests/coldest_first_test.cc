#include "experts/coldest_first.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace smore {
namespace {

struct Model {
  double heat = 0;
  bool busy = false;
  bool listed = false;
};

// What a look at every page finds.
int coldest_of(const std::vector<Model>& pages) {
  int coldest = -1;
  for (int page = 0; page < static_cast<int>(pages.size()); ++page) {
    if (!pages[page].listed || pages[page].busy) continue;
    if (coldest < 0 || pages[page].heat < pages[coldest].heat) coldest = page;
  }
  return coldest;
}

}  // namespace

TEST_CASE("pages leave in the order that a look at all of them would find") {
  const auto seed = std::random_device()();
  CAPTURE(seed);
  std::mt19937 random(seed);
  std::vector<Model> pages(40);
  ColdestFirst order;
  const auto list = [&](int page) {
    pages[page].listed = true;
    order.list(page, pages[page].heat);
  };
  const auto heat_now = [&](int page) {
    pages[page].listed = !pages[page].busy;
    return pages[page].busy ? ColdestFirst::kBusy : pages[page].heat;
  };
  for (int step = 0; step < 20'000; ++step) {
    const int page = static_cast<int>(random() % pages.size());
    switch (random() % 8) {
      case 0:
        pages[page].busy = true;
        break;
      case 1:
        pages[page].busy = false;
        if (!pages[page].listed) list(page);
        break;
      case 2: {
        const int expected = coldest_of(pages);
        REQUIRE(order.coldest(heat_now) == expected);
        if (expected < 0) break;
        order.pop();
        pages[expected] = {};
        break;
      }
      case 3:
        if (step % 64 != 0) break;
        for (Model& scaled : pages) scaled.heat *= 0.25;
        order.scale(0.25);
        break;
      default:
        pages[page].heat += 1 + static_cast<double>(random() % 3);
        order.grown();
    }
  }
  order.clear();
  CHECK(order.coldest(heat_now) == -1);
}

}  // namespace smore
