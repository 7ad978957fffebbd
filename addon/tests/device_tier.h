#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "residual/weights.h"
#include "tests/adapter_backends.h"
#include "tests/layered_adapter.h"

// The tier of adapters on a device, real or emulated.

namespace smore::device_tier {

using namespace layered;
using adapter_backends::stat;

inline constexpr uint64_t kRoom = 1 << 24;

inline std::unique_ptr<Backend> device() { return adapter_backends::backend(kernel_cases::kCuda); }

// What a whole adapter takes on a device.
struct Sizes {
  uint64_t trunk = 0;
  uint64_t page = 0;   // the largest
  uint64_t bytes = 0;  // of trunk and pages
};

inline Sizes sizes_on_device(Backend& backend, const std::string& folder) {
  Adapters adapters(base_config(), adapter_backends::roomy(), backend);
  const int handle = adapters.add(folder);
  REQUIRE(adapters.acquire(handle));
  const AdapterPlan plan =
      plan_adapter(open_adapter_folder(folder), base_config(), ExpertType::kStored);
  Sizes sizes;
  sizes.bytes = static_cast<uint64_t>(stat(adapters, kStatDeviceBytes));
  sizes.trunk = sizes.bytes;
  for (size_t page = 0; page < plan.pages.size(); ++page) {
    const size_t bytes = plan.page_level(static_cast<int>(page)).page_bytes;
    sizes.page = std::max<uint64_t>(sizes.page, bytes);
    sizes.trunk -= bytes;
  }
  return sizes;
}

// A step of so many rows as a backend is told of it.
class Step {
 public:
  explicit Step(int rows) : zeros_(rows + 1) {}

  void begin(Backend& backend) const {
    const auto rows = static_cast<int>(zeros_.size()) - 1;
    AttentionStep attention{.rows = rows,
                            .sequences = rows,
                            .row_start = zeros_.data(),
                            .row_sequence = zeros_.data(),
                            .context = zeros_.data(),
                            .block_start = zeros_.data(),
                            .blocks = zeros_.data(),
                            .positions = zeros_.data()};
    AttentionStep* const steps[] = {&attention};
    backend.begin(steps);
  }

 private:
  std::vector<int32_t> zeros_;
};

// As run(), within steps of few rows, whose kernels are listed.
class ListedRun {
 public:
  ListedRun(Backend& backend, int rows)
      : backend_(backend), none_(backend.place(std::vector<float>(size_t(rows) * kOutputs))) {
    TreeMaker maker(9);
    std::vector<float> x;
    for (int i = 0; i < rows * kInputs; ++i) x.push_back(static_cast<float>(maker.number(1)));
    x_ = backend.place(x);
    for (Buffer& y : y_) y = backend.take(rows * kOutputs);
  }

  std::vector<float> operator()(Adapters& adapters, const std::vector<int>& handles) {
    AdapterRows rows;
    std::vector<int32_t> row;
    for (const int handle : handles) {
      row.push_back(static_cast<int32_t>(row.size()));
      rows.groups.push_back({handle, {row.back()}});
    }
    const Step step(static_cast<int>(row.size()));
    {
      const AdapterUse use(adapters, rows);
      step.begin(backend_);
      for (int layer = 0; layer < kLayers; ++layer) {
        backend_.gather(none_.get(), row, kOutputs, y_[layer].get());
        const SiteOutput output{Site::kUp, y_[layer].get(), kOutputs};
        CHECK(adapters.apply(layer, {&output, 1}, rows, x_.get(), kInputs).empty());
      }
    }
    std::vector<float> all;
    const auto count = static_cast<int64_t>(row.size() * kOutputs);
    for (const Buffer& y : y_) {
      const float* values = backend_.to_host(y.get(), count);
      all.insert(all.end(), values, values + count);
    }
    return all;
  }

 private:
  Backend& backend_;
  Buffer none_, x_;
  Buffer y_[kLayers];
};

}  // namespace smore::device_tier
