#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/emulated/faults.h"
#include "backends/cuda/trees_adapter.h"
#include "core/error.h"
#include "tests/layered_adapter.h"
#include "tests/refusal.h"

// Which stream waits for which on the way to the device's tier. The emulator's streams do nothing
// that nobody waits for, so that what is not awaited is not there.

namespace smore::cuda {
namespace {

using namespace layered;
constexpr size_t kBlock = 1 << 16;  // for any page here
using Owners = std::vector<std::shared_ptr<Tickets>>;

struct Tier {
  ScratchFolder folder;
  ExpertCache host{{.bytes = 1 << 24}};
  Copies copies{0, host};
  Stream kernels;
  DeviceMemory marks{64};
  int steps = 0;

  Tier() {
    fill_bytes(marks.data(), 0, marks.bytes(), kernels);
    kernels.synchronize();
  }

  std::shared_ptr<DeviceAdapter> add(int handle) {
    const std::string path = folder / std::to_string(handle);
    write_many(path, 30 + handle);
    auto adapter = std::make_shared<Adapter>(
        handle, plan_adapter(open_adapter_folder(path), base_config(), ExpertType::kStored));
    host.add(handle, adapter, path);
    REQUIRE(host.acquire(handle));
    return std::make_shared<DeviceAdapter>(adapter, host, copies);
  }

  // A step with this adapter, which is on its way until somebody waits. Returns its number.
  int step(const DeviceAdapter& adapter) {
    const Owners owners{adapter.tickets()};
    copies.begin_use(owners, kernels);
    fill_bytes(marks.data() + steps, 1, 1, kernels);
    copies.end_use(owners, kernels);
    return steps++;
  }
  bool done(int step) { return peek(marks.data() + step, 1)[0] == std::byte{1}; }

  // What is there now, whatever is under way.
  static std::vector<std::byte> peek(const std::byte* from, size_t bytes) {
    std::vector<std::byte> values(bytes);
    const Stream stream;
    copy_to_host(values.data(), from, bytes, stream);
    stream.synchronize();
    return values;
  }
};

// Fresh memory has no other bytes.
bool written(const BlockMemory& block) {
  const std::vector<std::byte> values = Tier::peek(block.get(), 4);
  return std::any_of(values.begin(), values.end(), [](std::byte b) { return b != std::byte{255}; });
}

}  // namespace

TEST_CASE("a step waits on the device for the copies of its own adapters, and for no others") {
  Tier tier;
  const auto a = tier.add(1);
  const auto b = tier.add(2);
  const BlockMemory of_a = tier.copies.take(kBlock);
  const BlockMemory of_b = tier.copies.take(kBlock);
  a->load_page(0, of_a.get());
  b->load_page(0, of_b.get());
  tier.step(*a);
  tier.kernels.synchronize();
  CHECK(written(of_a));
  CHECK_FALSE(written(of_b));
  tier.step(*a);
  tier.kernels.synchronize();
  CHECK_FALSE(written(of_b));
  tier.step(*b);
  tier.kernels.synchronize();
  CHECK(written(of_b));
}

TEST_CASE("copies that are settled hold nothing on the host, and others still do") {
  Tier tier;
  const auto a = tier.add(1);
  const auto b = tier.add(2);
  const BlockMemory of_a = tier.copies.take(kBlock);
  const BlockMemory of_b = tier.copies.take(kBlock);
  a->load_page(0, of_a.get());
  b->load_page(0, of_b.get());
  for (const int handle : {1, 2}) {
    tier.host.remove(handle);
    tier.host.release(handle);
  }
  CHECK(tier.host.stats().resident_trunks == 2);
  tier.copies.settle(*a->tickets());
  CHECK(written(of_a));
  CHECK_FALSE(written(of_b));
  CHECK(tier.host.stats().resident_trunks == 1);
  tier.copies.settle();
  CHECK(written(of_b));
  CHECK(tier.host.stats().resident_trunks == 0);
}

TEST_CASE("a copy waits for the last use of the block it overwrites, and for no step after it") {
  Tier tier;
  const auto a = tier.add(1);
  const auto b = tier.add(2);
  const BlockMemory of_a = tier.copies.take(kBlock);
  a->load_page(0, of_a.get());
  const int first = tier.step(*a);
  const int second = tier.step(*b);
  const BlockMemory fresh = tier.copies.take(kBlock);
  b->load_page(0, fresh.get());
  tier.copies.settle();
  CHECK(written(fresh));
  CHECK_FALSE(tier.done(first));
  b->load_page(1, of_a.get());
  tier.copies.settle();
  CHECK(tier.done(first));
  CHECK_FALSE(tier.done(second));
  a->load_page(0, of_a.get());  // which was b's meanwhile
  tier.copies.settle();
  CHECK(tier.done(second));
}

TEST_CASE("a copy over a block that was last used many steps ago waits for that step at least") {
  Tier tier;
  const auto a = tier.add(1);
  const auto b = tier.add(2);
  const BlockMemory of_a = tier.copies.take(kBlock);
  a->load_page(0, of_a.get());
  const int first = tier.step(*a);
  int last = 0;
  for (int i = 0; i < 20; ++i) last = tier.step(*b);
  b->load_page(0, of_a.get());
  tier.copies.settle();
  CHECK(tier.done(first));
  CHECK_FALSE(tier.done(last));
}

TEST_CASE("memory goes back to the pool behind the last use of the pages in it") {
  Tier tier;
  const auto a = tier.add(1);
  const auto b = tier.add(2);
  BlockMemory region = tier.copies.take(2 * kBlock);
  a->load_page(0, region.get());
  b->load_page(0, region.get() + kBlock);
  const int of_a = tier.step(*a);
  const int of_b = tier.step(*b);
  const BlockMemory other = tier.copies.take(kBlock);
  a->load_page(1, other.get());
  const int after = tier.step(*a);
  std::byte* const was = region.get();
  region.reset();
  tier.copies.settle();
  CHECK(tier.done(of_a));
  CHECK(tier.done(of_b));
  // Pages know their adapters' last uses, not their own: here that is a's.
  CHECK(tier.done(after));
  const int latest = tier.step(*b);
  const BlockMemory again = tier.copies.take(2 * kBlock);
  CHECK(again.get() == was);
  b->load_page(0, again.get());
  tier.copies.settle();
  CHECK(written(again));
  CHECK_FALSE(tier.done(latest));
}

TEST_CASE("copies that are under way when a device fails hold nothing on the host any more") {
  Tier tier;
  const auto a = tier.add(1);
  const BlockMemory block = tier.copies.take(kBlock);
  a->load_page(0, block.get());
  {
    const emulated::BrokenDevice broken;
    check_refused(ErrorCode::kDevice, "is broken", [&] { tier.copies.settle(*a->tickets()); });
  }
  a->load_page(1, block.get());
  tier.copies.settle();  // the emulated device does what it had to do after all
  tier.host.remove(1);
  tier.host.release(1);
  CHECK(tier.host.stats().resident_trunks == 0);
}

TEST_CASE("the tier of a device that has failed goes away without an error") {
  auto tier = std::make_unique<Tier>();
  auto a = tier->add(1);
  BlockMemory block = tier->copies.take(kBlock);
  a->load_page(0, block.get());
  tier->step(*a);
  const emulated::BrokenDevice broken;
  block.reset();
  a.reset();
  CHECK_NOTHROW(tier.reset());
}

}  // namespace smore::cuda
