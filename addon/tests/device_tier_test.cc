#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/device_tier.h"
#include "tests/refusal.h"

// The tier of adapters where there is a device, real or emulated. What the kernels compute is
// tested with the CPU's.

namespace smore {

using namespace device_tier;

TEST_CASE("with room on the device for one expert beside the trunk the bits stay the same") {
  if (cuda_devices().usable.empty()) return;
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
  if (cuda_devices().usable.empty()) return;
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

TEST_CASE("an adapter whose pages left and came back elsewhere beside its trunk keeps its bits") {
  if (cuda_devices().usable.empty()) return;
  const auto backend = device();
  ScratchFolder folder;
  write_many(folder / "a", 61);
  write_many(folder / "b", 62);
  Adapters roomy(base_config(), adapter_backends::roomy(), *backend);
  const int a = roomy.add(folder / "a");
  REQUIRE(roomy.acquire(a));
  const std::vector<float> want = run(*backend, roomy, {a});
  const uint64_t room =
      sizes_on_device(*backend, folder / "a").bytes + sizes_on_device(*backend, folder / "b").trunk;
  Adapters tight(base_config(), {.memory_budget = kRoom, .device_budget = room}, *backend);
  REQUIRE(tight.add(folder / "a") == a);
  const int b = tight.add(folder / "b");
  for (int round = 0; round < 4; ++round) {
    REQUIRE(tight.acquire(a));  // brings what is not there
    CHECK(run(*backend, tight, {a}) == want);
    const double evicted = stat(tight, kStatDeviceEvictions);
    REQUIRE(tight.acquire(b));
    run(*backend, tight, {b});
    CHECK(stat(tight, kStatDeviceEvictions) > evicted);
    tight.release(b);
  }
}

TEST_CASE("an adapter that has to wait for room on the device holds nothing on the host") {
  if (cuda_devices().usable.empty()) return;
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
  if (cuda_devices().usable.empty()) return;
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

TEST_CASE("steps whose rows go to other adapters are launches of the same graph, with their bits") {
  if (cuda_devices().usable.empty()) return;
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

TEST_CASE("only a step whose own adapters are not all on the device has to wait for them") {
  if (cuda_devices().usable.empty()) return;
  const auto backend = device();
  ScratchFolder folder;
  write_many(folder / "whole", 3);
  write_many(folder / "part", 4);
  const Sizes whole = sizes_on_device(*backend, folder / "whole");
  const Sizes part = sizes_on_device(*backend, folder / "part");
  const uint64_t budget = whole.bytes + part.trunk + part.page;
  Adapters adapters(base_config(), {.memory_budget = kRoom, .device_budget = budget}, *backend);
  const int first = adapters.add(folder / "whole");
  const int second = adapters.add(folder / "part");
  REQUIRE(adapters.acquire(first));
  REQUIRE(adapters.acquire(second));
  const auto waits = [&](const std::vector<int>& handles) {
    AdapterRows rows;
    for (const int handle : handles) rows.groups.push_back({handle, {handle}});
    const AdapterUse use(adapters, rows);
    return adapters.waits();
  };
  CHECK_FALSE(waits({first}));
  CHECK(waits({second}));
  CHECK(waits({first, second}));
  CHECK_FALSE(waits({first}));
  CHECK_FALSE(waits({}));
  CHECK_FALSE(adapters.waits());
}

TEST_CASE("steps run on the device while other threads load, acquire and remove adapters") {
  if (cuda_devices().usable.empty()) return;
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
