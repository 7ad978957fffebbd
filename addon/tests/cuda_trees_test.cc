#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/emulated/streams.h"
#include "tests/device_tier.h"

// What only the emulator can tell of the tier of adapters on a device.

namespace smore {

using namespace device_tier;

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

TEST_CASE("a step with many adapters that have just come waits for nothing on the host") {
  const auto backend = device();
  ScratchFolder folder;
  Adapters adapters(base_config(), adapter_backends::roomy(), *backend);
  write_many(folder / "a", 40);
  std::vector<int> handles;
  for (int i = 0; i < 40; ++i) {
    handles.push_back(adapters.add(folder / "a"));
    REQUIRE(adapters.acquire(handles.back()));
  }
  AdapterRows rows;
  for (const int handle : handles) rows.groups.push_back({handle, {0}});
  const uint64_t before = cuda::emulated::waits;
  const AdapterUse use(adapters, rows);
  CHECK_FALSE(adapters.waits());
  CHECK(cuda::emulated::waits == before);
}

TEST_CASE("an adapter that a device fails to bring is not held, there or on the host") {
  const auto backend = device();
  ScratchFolder folder;
  write_many(folder / "a", 61);
  write_many(folder / "b", 62);
  const uint64_t room =
      sizes_on_device(*backend, folder / "a").bytes + sizes_on_device(*backend, folder / "b").trunk;
  Adapters adapters(base_config(), {.memory_budget = kRoom, .device_budget = room}, *backend);
  const int a = adapters.add(folder / "a");
  const int b = adapters.add(folder / "b");
  REQUIRE(adapters.acquire(a));
  REQUIRE(adapters.acquire(b));
  run(*backend, adapters, {b});  // pages of the other leave
  adapters.release(b);
  std::optional<cuda::emulated::BrokenDevice> broken;
  std::optional<cuda::emulated::HeldDevice> held(std::in_place);
  std::thread acquires([&] { CHECK_THROWS_AS(adapters.acquire(a), Error); });
  held->await_sleepers(1);
  broken.emplace();
  held.reset();
  acquires.join();
  broken.reset();
  CHECK(adapters.acquired(a));
  for (const int handle : {a, b}) adapters.remove(handle);
  adapters.release(a);
  CHECK(!adapters.acquired(a));
  CHECK(stat(adapters, kStatResidentBytes) == 0);
  CHECK(stat(adapters, kStatDeviceBytes) == 0);
}

TEST_CASE("a step ends and lets its adapters go where the device has failed meanwhile") {
  const auto backend = device();
  ScratchFolder folder;
  write_many(folder / "a", 3);
  for (const bool listed : {true, false}) {
    CAPTURE(listed);
    Adapters adapters(base_config(), adapter_backends::roomy(), *backend);
    const int handle = adapters.add(folder / "a");
    REQUIRE(adapters.acquire(handle));
    AdapterRows rows;
    rows.groups.push_back({handle, {0}});
    const Step step(listed ? 1 : 1000);
    {
      std::optional<AdapterUse> use;
      use.emplace(adapters, rows);
      step.begin(*backend);
      const cuda::emulated::BrokenDevice broken;
      use.reset();
    }
    adapters.remove(handle);
    adapters.release(handle);
    CHECK(stat(adapters, kStatDeviceBytes) == 0);
  }
}

}  // namespace smore
