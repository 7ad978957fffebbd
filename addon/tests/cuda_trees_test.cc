#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/emulated/streams.h"
#include "residual/weights.h"
#include "tests/adapter_backends.h"
#include "tests/layered_adapter.h"
#include "tests/refusal.h"

// The tier of adapters on a device. What the kernels compute is tested with the CPU's.

namespace smore {
namespace {

using namespace layered;
using adapter_backends::stat;

constexpr uint64_t kRoom = 1 << 24;

std::unique_ptr<Backend> device() { return adapter_backends::backend(kernel_cases::kCuda); }

// What a whole adapter takes on a device.
struct Sizes {
  uint64_t trunk = 0;
  uint64_t page = 0;   // the largest
  uint64_t bytes = 0;  // of trunk and pages
};

Sizes sizes_on_device(Backend& backend, const std::string& folder) {
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
    const std::vector<int32_t> zeros(row.size() + 1);
    AttentionStep attention{.rows = static_cast<int>(row.size()),
                            .sequences = static_cast<int>(row.size()),
                            .row_start = zeros.data(),
                            .row_sequence = zeros.data(),
                            .context = zeros.data(),
                            .block_start = zeros.data(),
                            .blocks = zeros.data(),
                            .positions = zeros.data()};
    AttentionStep* const steps[] = {&attention};
    {
      const AdapterUse use(adapters, rows);
      backend_.begin(steps);
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

}  // namespace

TEST_CASE("with room on the device for one expert beside the trunk the bits stay the same") {
  const auto backend = device();
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    CAPTURE(seed);
    ScratchFolder folder;
    write_many(folder / "a", seed);
    Adapters roomy(base_config(), adapter_backends::roomy(), *backend);
    const int whole = roomy.add(folder / "a");
    REQUIRE(roomy.acquire(whole));
    const std::vector<float> want = run(*backend, roomy, {whole});
    CHECK(stat(roomy, kStatDeviceMisses) == 0);
    CHECK(stat(roomy, kStatDeviceHits) > 0);

    const Sizes sizes = sizes_on_device(*backend, folder / "a");
    const uint64_t budget = sizes.trunk + sizes.page;
    const AdapterInfo info = roomy.info(whole);
    for (const uint64_t host : {kRoom, info.trunk_bytes + sizes.page}) {
      Adapters tight(base_config(), {.memory_budget = host, .device_budget = budget}, *backend);
      const int handle = tight.add(folder / "a");
      REQUIRE(tight.acquire(handle));
      for (int step = 0; step < 3; ++step) {
        CHECK(run(*backend, tight, {handle}) == want);
        CHECK(stat(tight, kStatDeviceBytes) <= static_cast<double>(budget));
      }
      CHECK(stat(tight, kStatDeviceEvictions) > 0);
      CHECK(stat(tight, kStatDeviceMisses) > 0);
      CHECK(stat(tight, kStatDeviceAdapters) == 1);
      tight.release(handle);
    }
    check_refused(ErrorCode::kOutOfMemory, "the device's memory for adapters", [&] {
      Adapters small(base_config(), {.memory_budget = kRoom, .device_budget = budget - 1},
                     *backend);
      small.add(folder / "a");
    });
  }
}

TEST_CASE("more adapters than the device holds take turns, and keep their bits") {
  const auto backend = device();
  ScratchFolder folder;
  Adapters roomy(base_config(), adapter_backends::roomy(), *backend);
  std::vector<int> handles;
  std::vector<std::vector<float>> want;
  uint64_t largest = 0;
  for (uint32_t i = 0; i < 6; ++i) {
    const std::string path = folder / std::to_string(i);
    write_many(path, 50 + i);
    handles.push_back(roomy.add(path));
    REQUIRE(roomy.acquire(handles.back()));
    largest = std::max(largest, sizes_on_device(*backend, path).bytes);
    want.push_back(run(*backend, roomy, {handles.back()}));
  }
  Adapters tight(base_config(), {.memory_budget = kRoom, .device_budget = 2 * largest}, *backend);
  for (uint32_t i = 0; i < 6; ++i) CHECK(tight.add(folder / std::to_string(i)) == handles[i]);
  for (int round = 0; round < 2; ++round) {
    for (int i : {0, 5, 2, 1, 3, 4}) {
      REQUIRE(tight.acquire(handles[i]));
      CHECK(run(*backend, tight, {handles[i]}) == want[i]);
      tight.release(handles[i]);
    }
  }
  CHECK(stat(tight, kStatDeviceEvictions) > 0);
  // The host holds all of them: nothing is read from their files again.
  double bytes = 0;
  for (int handle : handles) bytes += static_cast<double>(tight.info(handle).bytes);
  CHECK(stat(tight, kStatExpertLoadBytes) == bytes);
}

TEST_CASE("an adapter that has to wait for room on the device holds nothing on the host") {
  const auto backend = device();
  ScratchFolder folder;
  write_many(folder / "a", 3);
  write_many(folder / "b", 4);
  const Sizes a = sizes_on_device(*backend, folder / "a");
  const Sizes b = sizes_on_device(*backend, folder / "b");
  const uint64_t both = a.trunk + b.trunk + std::max(a.page, b.page);
  Adapters adapters(base_config(), {.memory_budget = kRoom, .device_budget = both - 1}, *backend);
  const int first = adapters.add(folder / "a");
  const int second = adapters.add(folder / "b");
  REQUIRE(adapters.acquire(first));
  CHECK(!adapters.acquire(second));
  CHECK(!adapters.acquired(second));
  adapters.release(first);
  CHECK(adapters.acquire(second));
  adapters.remove(first);
  adapters.release(second);
  adapters.remove(second);
  CHECK(stat(adapters, kStatResidentBytes) == 0);
  CHECK(stat(adapters, kStatDeviceBytes) == 0);
}

TEST_CASE("an expert that cannot be read any more fails its own rows and no others") {
  const auto backend = device();
  ScratchFolder folder;
  write_many(folder / "good", 3);
  write_many(folder / "bad", 4);
  Adapters roomy(base_config(), adapter_backends::roomy(), *backend);
  const int alone = roomy.add(folder / "good");
  REQUIRE(roomy.acquire(alone));
  const std::vector<float> want = run(*backend, roomy, {alone});

  const Sizes good = sizes_on_device(*backend, folder / "good");
  const Sizes bad = sizes_on_device(*backend, folder / "bad");
  const uint64_t page = std::max(good.page, bad.page);
  const AdapterOptions options{.memory_budget = roomy.info(alone).bytes +
                                                plan_adapter(open_adapter_folder(folder / "bad"),
                                                             base_config(), ExpertType::kStored)
                                                    .trunk_bytes +
                                                page,
                               .device_budget = good.bytes + bad.trunk + page};
  Adapters tight(base_config(), options, *backend);
  const int first = tight.add(folder / "good");
  REQUIRE(tight.acquire(first));
  const int second = tight.add(folder / "bad");
  REQUIRE(tight.acquire(second));
  std::filesystem::resize_file(folder / "bad/adapter_model.safetensors", 64);
  std::vector<int> failed;
  const std::vector<float> got = run(*backend, tight, {first, second}, &failed);
  CHECK(!failed.empty());
  for (int handle : failed) CHECK(handle == second);
  for (int layer = 0; layer < kLayers; ++layer) {
    CHECK(std::memcmp(got.data() + 2 * layer * kOutputs, want.data() + layer * kOutputs,
                      kOutputs * sizeof(float)) == 0);
  }
  CHECK(tight.place(second).fault.find("has changed since") != std::string::npos);
}

TEST_CASE("whatever memory a step is refused, the steps after it have their bits, or their room") {
  ScratchFolder folder;
  write_many(folder / "a", 3);
  write_many(folder / "b", 4);
  const auto first = device();
  const Sizes a = sizes_on_device(*first, folder / "a");
  const Sizes b = sizes_on_device(*first, folder / "b");
  Adapters roomy(base_config(), adapter_backends::roomy(), *first);
  const std::vector<int> handles{roomy.add(folder / "a"), roomy.add(folder / "b")};
  for (int handle : handles) REQUIRE(roomy.acquire(handle));
  const std::vector<float> want = run(*first, roomy, handles);
  const uint64_t tight = a.trunk + b.trunk + std::max(a.page, b.page);
  for (const uint64_t room : {kRoom, tight}) {
    for (const bool go_on : {true, false}) {
      CAPTURE(room);
      CAPTURE(go_on);
      bool refused = true;
      int granted = 0;
      for (; refused; granted += 1 + granted / 4) {
        CAPTURE(granted);
        const auto backend = device();
        Adapters adapters(base_config(), {.memory_budget = kRoom, .device_budget = room}, *backend);
        CHECK(adapters.add(folder / "a") == handles[0]);
        CHECK(adapters.add(folder / "b") == handles[1]);
        for (int handle : handles) REQUIRE(adapters.acquire(handle));
        {
          const cuda::emulated::RefusedAllocation refusal(granted);
          std::vector<int> failed;
          try {
            run(*backend, adapters, handles, &failed);
          } catch (const Error& error) {
            CHECK(error.code() == ErrorCode::kOutOfMemory);
          }
          refused = refusal.happened();
        }
        if (go_on) CHECK(run(*backend, adapters, handles) == want);
        for (int handle : handles) adapters.release(handle);
        for (int handle : handles) adapters.remove(handle);
        CHECK(stat(adapters, kStatResidentBytes) == 0);
        CHECK(stat(adapters, kStatDeviceBytes) == 0);
      }
      CHECK(granted > 5);
    }
  }
}

TEST_CASE("a step launches as many kernels for eight adapters as for one") {
  const auto backend = device();
  ScratchFolder folder;
  Adapters adapters(base_config(), adapter_backends::roomy(), *backend);
  std::vector<int> handles;
  for (uint32_t i = 0; i < 8; ++i) {
    write_many(folder / std::to_string(i), 20 + i);
    handles.push_back(adapters.add(folder / std::to_string(i)));
    REQUIRE(adapters.acquire(handles.back()));
  }
  const auto launches = [&](const std::vector<int>& used) {
    const uint64_t before = cuda::emulated::launched;
    run(*backend, adapters, used);
    return cuda::emulated::launched - before;
  };
  const uint64_t one = launches({handles[0]});
  CHECK(one > 0);
  CHECK(launches(handles) == one);
}

TEST_CASE("steps whose rows go to other adapters are launches of the same graph, with their bits") {
  const auto backend = device();
  ScratchFolder folder;
  Adapters adapters(base_config(), adapter_backends::roomy(), *backend);
  std::vector<int> handles;
  for (uint32_t i = 0; i < 6; ++i) {
    write_many(folder / std::to_string(i), 40);  // of one shape
    handles.push_back(adapters.add(folder / std::to_string(i)));
    REQUIRE(adapters.acquire(handles.back()));
  }
  const auto graphs = [&](StatIndex index) {
    double stats[kStatCount] = {};
    backend->stats(stats);
    return stats[index];
  };
  std::vector<std::vector<int>> used;
  std::vector<std::vector<float>> want;
  for (int step = 0; step < 8; ++step) {
    used.push_back({handles[step % 6], handles[(step + 1) % 6], handles[(step + 3) % 6]});
    std::sort(used.back().begin(), used.back().end());
    want.push_back(run(*backend, adapters, used.back()));
  }
  ListedRun run_listed(*backend, 3);
  for (int step = 0; step < 8; ++step) CHECK(run_listed(adapters, used[step]) == want[step]);
  CHECK(graphs(kStatGraphCaptures) == 1);
  CHECK(graphs(kStatGraphDirect) == 1);
  CHECK(graphs(kStatGraphLaunches) == 7);
  CHECK(graphs(kStatGraphUpdates) == 0);
  for (int handle : handles) adapters.release(handle);
  CHECK(stat(adapters, kStatDeviceBytes) > 0);
  for (int handle : handles) adapters.remove(handle);
  CHECK(stat(adapters, kStatDeviceBytes) == 0);
}

TEST_CASE("steps run on the device while other threads load, acquire and remove adapters") {
  const auto backend = device();
  ScratchFolder folder;
  uint64_t largest = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    write_many(folder / std::to_string(i), 70 + i);
    largest = std::max(largest, sizes_on_device(*backend, folder / std::to_string(i)).bytes);
  }
  const AdapterOptions options{
      .memory_budget = 200000, .max_resident = 3, .device_budget = 2 * largest};
  Adapters adapters(base_config(), options, *backend);
  adapter_backends::check_coming_and_going(
      adapters, [&](int i) { return folder / std::to_string(i); }, 10,
      [&](int handle) { return run(*backend, adapters, {handle}); });
  CHECK(stat(adapters, kStatResidentBytes) == 0);
  CHECK(stat(adapters, kStatDeviceBytes) == 0);
}

}  // namespace smore
