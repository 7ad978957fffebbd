#include "backends/cuda/trees_adapter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/error.h"

namespace smore::cuda {
namespace {

constexpr size_t kLine = 64;

size_t round_up(size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

BlockSlot place_of(const Slot& slot) {
  BlockSlot place;
  if (!slot.exists()) return place;
  place.offset = static_cast<int64_t>(slot.offset);
  if (slot.coded()) {
    place.scales = static_cast<int64_t>(slot.scales);
    place.form = Form::kI8;
    return place;
  }
  SMORE_CHECK(slot.dtype == DType::kF32 || slot.dtype == DType::kF16 || slot.dtype == DType::kBF16,
              "adapters are stored in floats");
  place.form = slot.dtype == DType::kF32   ? Form::kF32
               : slot.dtype == DType::kF16 ? Form::kF16
                                           : Form::kBF16;
  return place;
}

BlockSlot place_in_panels(const Slot& slot) {
  SMORE_CHECK(!slot.exists() || slot.panels, "kernels read this matrix in panels");
  return place_of(slot);
}

RouterPlan plan_router(const Level& level, const RouterSlots& slots) {
  const Router& router = level.router;
  return {.score = router.score,
          .select = router.select,
          .norm = router.norm,
          .two_layer = router.two_layer,
          .activation = router.activation,
          .first_row = slots.first_row,
          .rows = slots.rows,
          .keys = router.two_layer ? router.keys : 0,
          .second = place_in_panels(slots.second),
          .second_bias = place_of(slots.second_bias),
          .key_rows = place_in_panels(slots.keys),
          .tables = nullptr};
}

LevelPlan plan_level(const Level& level, const LevelSlots& slots, int first_page,
                     int first_counter) {
  SMORE_CHECK(!slots.a.panels, "kernels read A in rows");
  return {.experts = level.experts,
          .chosen = level.chosen,
          .rank = level.rank,
          .width = level.width,
          .pairs = static_cast<int>(level.pairs),
          .scale = level.scale,
          .activation = level.activation,
          .router = plan_router(level, slots.router),
          .w = place_in_panels(slots.w),
          .w_bias = place_of(slots.w_bias),
          .a = place_of(slots.a),
          .a_bias = place_of(slots.a_bias),
          .b = place_in_panels(slots.b),
          .b_bias = place_of(slots.b_bias),
          .first_page = slots.first_page - first_page,
          .first_counter = first_counter};
}

}  // namespace

DeviceAdapter::DeviceAdapter(std::shared_ptr<Adapter> adapter, ExpertCache& host, Copies& copies)
    : adapter_(std::move(adapter)), host_(host), copies_(copies), tickets_(copies.tickets()) {
  const AdapterPlan& plan = adapter_->plan();
  for (const auto& level : adapter_->routing()) {
    widths_.push_back(static_cast<int>(level.size()));
    counters_of_linear_ += widths_.back();
  }
  for (const SitePlan& site : plan.sites) plan_linear(site);
  for (size_t i = 0; i < linears_.size(); ++i) {
    linears_[i].levels = levels_.data() + first_level_[i];
  }
  linears_at_ = round_up(plan.trunk_bytes);
  levels_at_ = round_up(linears_at_ + linears_.size() * sizeof(LinearPlan));
  tables_at_ = round_up(levels_at_ + levels_.size() * sizeof(LevelPlan));
  pages_at_ = round_up(tables_at_ + tables_.size() * sizeof(int64_t));
  counters_bytes_ = linears_.size() * counters_of_linear_ * sizeof(unsigned long long);
  counters_ = copies_.take_zeros(counters_bytes_, tickets_);
}

void DeviceAdapter::plan_linear(const SitePlan& site) {
  const SiteSlots& slots = site.slots;
  const Mixture& mixture = site.mixture;
  linears_.push_back({.combine = mixture.combine,
                      .inputs = mixture.inputs,
                      .outputs = mixture.outputs,
                      .projection = mixture.projection,
                      .router_rows = slots.router_rows,
                      .level_count = static_cast<int>(mixture.levels.size()),
                      .projected = place_in_panels(slots.projection),
                      .projected_bias = place_of(slots.projection_bias),
                      .routers = place_in_panels(slots.routers),
                      .router_bias = place_of(slots.router_bias),
                      .final_w = place_in_panels(slots.final_w),
                      .final_bias = place_of(slots.final_bias),
                      .levels = nullptr});
  first_level_.push_back(levels_.size());
  int counter = static_cast<int>(first_level_.size() - 1) * counters_of_linear_;
  for (size_t l = 0; l < mixture.levels.size(); ++l) {
    first_table_.push_back(tables_.size());
    for (const Slot& table : slots.levels[l].router.tables) {
      tables_.push_back(static_cast<int64_t>(table.offset));
    }
    levels_.push_back(plan_level(mixture.levels[l], slots.levels[l], site.first_page, counter));
    counter += widths_[l];
  }
}

const LinearPlan* DeviceAdapter::linear_on_device(const std::byte* trunk, int site) const {
  return reinterpret_cast<const LinearPlan*>(trunk + linears_at_) + site;
}

const std::byte** DeviceAdapter::pages_on_device(const std::byte* trunk) const {
  return reinterpret_cast<const std::byte**>(const_cast<std::byte*>(trunk) + pages_at_);
}

LinearRouting DeviceAdapter::read_counters(const Stream& stream) const {
  std::vector<uint64_t> values(counters_bytes_ / sizeof(unsigned long long));
  copy_to_host(values.data(), counters_.get(), counters_bytes_, stream);
  stream.synchronize();
  LinearRouting result(linears_.size());
  auto next = values.begin();
  for (auto& levels : result) {
    for (const int width : widths_) {
      levels.emplace_back(next, next + width);
      next += width;
    }
  }
  return result;
}

void DeviceAdapter::load_trunk(std::byte* block) const {
  std::vector<LevelPlan> levels = levels_;
  for (size_t i = 0; i < levels.size(); ++i) {
    levels[i].router.tables =
        reinterpret_cast<const int64_t*>(block + tables_at_) + first_table_[i];
  }
  std::vector<LinearPlan> linears = linears_;
  for (size_t i = 0; i < linears.size(); ++i) {
    linears[i].levels = reinterpret_cast<const LevelPlan*>(block + levels_at_) + first_level_[i];
  }
  std::vector<std::byte> plans(pages_at_ - linears_at_);
  const auto put = [&](size_t at, const auto& values) {
    if (values.empty()) return;
    std::memcpy(plans.data() + at - linears_at_, values.data(),
                values.size() * sizeof(values.front()));
  };
  put(linears_at_, linears);
  put(levels_at_, levels);
  put(tables_at_, tables_);
  const HeldAdapter held(host_, adapter_->handle());
  const size_t bytes = adapter_->trunk_bytes();
  if (bytes > 0) copies_.copy_now(block, held.resident().trunk, bytes, tickets_);
  copies_.copy_now(block + linears_at_, plans.data(), plans.size(), tickets_);
}

void DeviceAdapter::load_page(int page, std::byte* block) const {
  copies_.copy_page({adapter_->handle(), page}, block, page_bytes(page), tickets_);
}

}  // namespace smore::cuda
