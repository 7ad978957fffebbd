#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "residual/weights.h"
#include "tests/adapter_backends.h"
#include "tests/layered_adapter.h"
#include "tests/refusal.h"

namespace smore {
namespace {

using namespace layered;
using adapter_backends::stat;

}  // namespace

TEST_CASE("with memory for routers and few experts the bits are those of everything resident") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    CAPTURE(seed);
    ScratchFolder folder;
    write_many(folder / "a", seed);
    Adapters roomy(base_config(), {.memory_budget = 1 << 24}, *backend);
    const int whole = roomy.add(folder / "a");
    REQUIRE(roomy.acquire(whole));
    const std::vector<float> want = run(*backend, roomy, {whole});

    const AdapterInfo info = roomy.info(whole);
    const AdapterPlan plan =
        plan_adapter(open_adapter_folder(folder / "a"), base_config(), ExpertType::kStored);
    size_t largest = 0;
    for (int page = 0; page < info.pages; ++page) {
      largest = std::max(largest, plan.page_level(page).page_bytes);
    }
    const uint64_t budget = plan.trunk_bytes + largest;
    Adapters tight(base_config(), {.memory_budget = budget}, *backend);
    const int handle = tight.add(folder / "a");
    REQUIRE(tight.acquire(handle));
    for (int step = 0; step < 3; ++step) {
      CHECK(run(*backend, tight, {handle}) == want);
      CHECK(stat(tight, kStatResidentBytes) <= static_cast<double>(budget));
    }
    CHECK(stat(tight, kStatExpertEvictions) > 0);
    CHECK(stat(tight, kStatExpertMisses) > 0);
    CHECK(stat(tight, kStatResidentAdapters) == 1);
    tight.release(handle);
    check_refused(ErrorCode::kOutOfMemory, "the memory for adapters is", [&] {
      Adapters small(base_config(), {.memory_budget = budget - 1}, *backend);
      small.add(folder / "a");
    });
  }
}

TEST_CASE("more adapters than fit give the same bits, one after the other") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  ScratchFolder folder;
  Adapters roomy(base_config(), {.memory_budget = 1 << 24}, *backend);
  std::vector<int> handles;
  std::vector<std::vector<float>> want;
  uint64_t largest = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    write_many(folder / std::to_string(i), 50 + i);
    handles.push_back(roomy.add(folder / std::to_string(i)));
    REQUIRE(roomy.acquire(handles.back()));
    largest = std::max(largest, roomy.info(handles.back()).bytes);
    want.push_back(run(*backend, roomy, {handles.back()}));
  }
  Adapters tight(base_config(), {.memory_budget = 2 * largest, .max_resident = 3}, *backend);
  for (uint32_t i = 0; i < 8; ++i) CHECK(tight.add(folder / std::to_string(i)) == handles[i]);
  for (int round = 0; round < 3; ++round) {
    for (int i : {0, 5, 2, 7, 1, 6, 3, 4}) {
      REQUIRE(tight.acquire(handles[i]));
      CHECK(run(*backend, tight, {handles[i]}) == want[i]);
      tight.release(handles[i]);
      CHECK(stat(tight, kStatResidentAdapters) <= 3);
    }
  }
}

TEST_CASE("a file that shrinks after registration fails its own rows and no others") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  ScratchFolder folder;
  write_many(folder / "good", 3);
  write_many(folder / "bad", 4);
  Adapters adapters(base_config(), {.memory_budget = 1 << 24}, *backend);
  const int good = adapters.add(folder / "good");
  const int bad = adapters.add(folder / "bad");
  REQUIRE(adapters.acquire(good));
  const std::vector<float> want = run(*backend, adapters, {good});
  std::filesystem::resize_file(folder / "bad/adapter_model.safetensors", 64);
  check_refused(ErrorCode::kIo, "has changed since the adapter was loaded",
                [&] { adapters.acquire(bad); });
  CHECK(run(*backend, adapters, {good}) == want);

  // A budget without room for every page, so that pages are read again during steps.
  const AdapterPlan plan =
      plan_adapter(open_adapter_folder(folder / "good"), base_config(), ExpertType::kStored);
  Adapters tight(base_config(), {.memory_budget = plan.info.bytes + plan.trunk_bytes}, *backend);
  std::filesystem::copy(folder / "good", folder / "copy");
  const int copy = tight.add(folder / "copy");
  REQUIRE(tight.acquire(copy));
  const int other = tight.add(folder / "good");
  REQUIRE(tight.acquire(other));
  std::filesystem::resize_file(folder / "good/adapter_model.safetensors", 64);
  std::vector<int> failed;
  const std::vector<float> got = run(*backend, tight, {copy, other}, &failed);
  CHECK(!failed.empty());
  for (int handle : failed) CHECK(handle == other);
  for (int layer = 0; layer < kLayers; ++layer) {
    CHECK(std::memcmp(got.data() + 2 * layer * kOutputs, want.data() + layer * kOutputs,
                      kOutputs * sizeof(float)) == 0);
  }
}

TEST_CASE("a file that is overwritten in place is not mixed with what was validated") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  ScratchFolder folder;
  write_many(folder / "a", 3);
  Adapters adapters(base_config(), {.memory_budget = 1 << 24}, *backend);
  double checked = 0;
  const int handle = adapters.add(folder / "a", [&](double share) {
    CHECK(share > checked);
    checked = share;
  });
  CHECK(checked == 1);
  CHECK(!adapters.place(handle).resident);
  write_many(folder / "a", 4);
  check_refused(ErrorCode::kIo, "has changed since", [&] { adapters.acquire(handle); });
  const int again = adapters.add(folder / "a");
  CHECK(adapters.acquire(again));
  CHECK(adapters.place(again).resident);
}

TEST_CASE("a file that is truncated while it is validated is refused, and nothing else happens") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  ScratchFolder folder;
  write_many(folder / "a", 3);
  Adapters adapters(base_config(), {.memory_budget = 1 << 24}, *backend);
  check_refused(ErrorCode::kIo, "adapter_model.safetensors: has changed since", [&] {
    adapters.add(folder / "a", [&](double) {
      std::filesystem::resize_file(folder / "a/adapter_model.safetensors", 0);
    });
  });
}

TEST_CASE("steps run while other threads load, acquire and remove adapters") {
  const auto backend =
      make_cpu_backend({.threads = 2, .activations = ActivationType::kFloat32, .path = ""});
  ScratchFolder folder;
  for (uint32_t i = 0; i < 4; ++i) write_many(folder / std::to_string(i), 70 + i);
  Adapters adapters(base_config(), {.memory_budget = 200000, .max_resident = 3}, *backend);
  adapter_backends::check_coming_and_going(
      adapters, [&](int i) { return folder / std::to_string(i); }, 50,
      [&](int handle) { return run(*backend, adapters, {handle}); });
  CHECK(stat(adapters, kStatResidentBytes) == 0);
}

}  // namespace smore
