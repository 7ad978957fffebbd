#include <doctest/doctest.h>

#include <string>

#include "backends/backend.h"
#include "backends/cuda/emulated/faults.h"
#include "core/error.h"
#include "tests/refusal.h"

// Which GPUs are taken, and what is said of those that are not.

namespace smore {

using cuda::emulated::OtherDevices;

TEST_CASE("auto passes by a GPU that is too old, which is refused by name") {
  const OtherDevices devices({{7, 5}, {9, 0}});
  CHECK(cuda_devices().usable == std::vector<int>{1});
  CHECK(make_backend("auto", {})->device() == "cuda:1");
  const std::string refusal =
      "cuda:0 cannot be used: the GPUs that can are cuda:1 (cuda:0: emulated has compute "
      "capability 7.5; 8.0 or later is served)";
  check_refused(ErrorCode::kDevice, refusal, [] { make_backend("cuda:0", {}); });
  check_refused(ErrorCode::kDevice, refusal, [] { device_memory("cuda:0", {}); });
}

TEST_CASE("where no GPU can be used, auto is the CPU and a GPU's name is refused with the reason") {
  {
    const OtherDevices none({}, "there is no NVIDIA driver");
    CHECK(make_backend("auto", {})->device() == "cpu");
    check_refused(ErrorCode::kDevice,
                  "cuda:0 cannot be used: no GPU can (there is no NVIDIA driver)",
                  [] { make_backend("cuda:0", {}); });
  }
  const OtherDevices old({{6, 1}, {7, 5}});
  CHECK(make_backend("auto", {})->device() == "cpu");
  check_refused(ErrorCode::kDevice,
                "cuda:1 cannot be used: no GPU can (cuda:0: emulated has compute capability 6.1; "
                "8.0 or later is served; cuda:1: emulated has compute capability 7.5; 8.0 or later "
                "is served)",
                [] { make_backend("cuda:1", {}); });
}

}  // namespace smore
