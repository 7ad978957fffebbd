#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace smore {

// Pages in the order of their heat, which only grows while a page is listed: a heap that learns of
// growth when it is asked. Using a page costs an addition; asking, a small part of the pages used
// since it was last asked.
class ColdestFirst {
 public:
  static constexpr double kBusy = -1;  // in place of a heat: the page is not to be had

  // A page that is not listed.
  void list(int page, double heat) {
    items_.push_back({heat, page});
    std::push_heap(items_.begin(), items_.end(), colder);
  }

  // The heat of a page, listed or not, has grown.
  void grown() { ++grown_; }

  // The page of least heat, of several the least number; -1 = none is left. `heat_now(page)` tells
  // the heat; a page for which it tells kBusy is listed no more.
  template <class HeatNow>
  int coldest(HeatNow&& heat_now) {
    if (grown_ > items_.size() / 4) refresh(heat_now);
    while (!items_.empty()) {
      const Item first = items_.front();
      const double heat = heat_now(first.page);
      if (heat == first.heat) return first.page;
      pop();
      if (heat != kBusy) list(first.page, heat);
    }
    return -1;
  }

  // Takes away what coldest() told.
  void pop() {
    std::pop_heap(items_.begin(), items_.end(), colder);
    items_.pop_back();
  }

  void clear() { items_.clear(); }

  // Multiplies every heat, as the caller does with those that heat_now tells.
  void scale(double factor) {
    for (Item& item : items_) item.heat *= factor;
  }

 private:
  struct Item {
    double heat;  // when it was listed, or looked at last
    int page;
  };

  static bool colder(const Item& a, const Item& b) {
    return a.heat != b.heat ? a.heat > b.heat : a.page > b.page;
  }

  template <class HeatNow>
  void refresh(HeatNow&& heat_now) {
    std::erase_if(items_, [&](Item& item) {
      item.heat = heat_now(item.page);
      return item.heat == kBusy;
    });
    std::make_heap(items_.begin(), items_.end(), colder);
    grown_ = 0;
  }

  std::vector<Item> items_;
  size_t grown_ = 0;  // since the last refresh
};

}  // namespace smore
