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

// A whole adapter of the host tier: let go at the end, unless it is kept for a copy under way.
class Held {
 public:
  Held(ExpertCache& host, int adapter)
      : host_(host), adapter_(adapter), whole_(host.hold({&adapter_, 1}, {&resident_, 1})) {}
  ~Held() {
    if (whole_) host_.let_go({&adapter_, 1}, {});
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  bool whole() const { return whole_; }
  const ExpertCache::Resident& resident() const { return resident_; }
  void keep() { whole_ = false; }

 private:
  ExpertCache& host_;
  const int adapter_;
  ExpertCache::Resident resident_;
  bool whole_;
};

}  // namespace

Copies::Copies(int device, ExpertCache& host) : device_(device), host_(host), pool_(device) {}

Copies::~Copies() { settle(); }

void Copies::order_after_use() {
  use_device(device_);
  used_.make_wait(stream_);
}

BlockMemory Copies::take(size_t bytes) {
  use_device(device_);
  std::byte* data = pool_.take(std::max<size_t>(bytes, 1), stream_);
  return {data, [this](std::byte* block) { give_back(block); }};
}

void Copies::give_back(std::byte* block) {
  try {
    order_after_use();
  } catch (const Error&) {
    // A device that has failed uses nothing any more.
  }
  pool_.give_back(block, stream_);
}

void Copies::copy_page(PageKey key, std::byte* to, size_t bytes) {
  order_after_use();
  Held held(host_, key.adapter);
  if (held.whole()) {
    copy_to_device(to, held.resident().pages[key.page], bytes, stream_);
    copied_.record(stream_);
    copies_ += 1;
    const std::lock_guard lock(mutex_);
    held_.push_back(key.adapter);  // last: who takes it from here waits for the copy
    held.keep();
    return;
  }
  // The host tier may need what is being copied to make room.
  settle();
  const std::byte* from = nullptr;
  host_.pin({&key, 1}, {&from, 1});
  const PinnedPages pinned(host_, {&key, 1});
  if (from == nullptr) throw Error(ErrorCode::kIo, host_.place(key.adapter).fault);
  copy_now(to, from, bytes);
}

void Copies::copy_now(std::byte* to, const std::byte* from, size_t bytes) {
  order_after_use();
  copy_to_device(to, from, bytes, stream_);
  stream_.synchronize();
}

void Copies::settle() {
  const std::lock_guard settling(settling_);
  std::vector<int> held;
  {
    const std::lock_guard lock(mutex_);
    held.swap(held_);
  }
  if (held.empty()) return;
  try {
    use_device(device_);
    stream_.synchronize();
  } catch (...) {
    host_.let_go(held, {});  // a device that fails reads no more
    throw;
  }
  host_.let_go(held, {});
}

void Copies::begin_use(const Stream& stream) {
  const uint64_t copies = copies_;
  if (copies == seen_copies_) return;
  seen_copies_ = copies;
  copied_.make_wait(stream);
}

void Copies::end_use(const Stream& stream) { used_.record(stream); }

DeviceAdapter::DeviceAdapter(std::shared_ptr<Adapter> adapter, ExpertCache& host, Copies& copies)
    : adapter_(std::move(adapter)), host_(host), copies_(copies) {
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
  use_device(copies_.device());
  counters_ = DeviceMemory(linears_.size() * counters_of_linear_ * sizeof(unsigned long long));
  const Stream stream;
  fill_bytes(counters_.data(), 0, counters_.bytes(), stream);
  stream.synchronize();
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
  std::vector<uint64_t> values(counters_.bytes() / sizeof(unsigned long long));
  copy_to_host(values.data(), counters_.data(), counters_.bytes(), stream);
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
  const Held held(host_, adapter_->handle());
  const size_t bytes = adapter_->trunk_bytes();
  if (bytes > 0) copies_.copy_now(block, held.resident().trunk, bytes);
  copies_.copy_now(block + linears_at_, plans.data(), plans.size());
}

void DeviceAdapter::load_page(int page, std::byte* block) const {
  copies_.copy_page({adapter_->handle(), page}, block, page_bytes(page));
}

}  // namespace smore::cuda
