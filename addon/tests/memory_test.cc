#include "engine/memory.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/temp_model.h"

namespace smore {
namespace {

constexpr uint64_t kUnknown = UINT64_MAX;

// A file system in which this process is in `group`, a line of /proc/self/cgroup.
class Groups {
 public:
  explicit Groups(const std::string& group) { write("/proc/self", "cgroup", group + "\n"); }

  void write(const std::string& folder, const std::string& name, const std::string& text) {
    std::filesystem::create_directories(folder_.path() + folder);
    folder_.write(folder.substr(1) + "/" + name, text);
  }
  uint64_t available() const { return groups_available(folder_.path()); }

 private:
  TempFolder folder_;
};

}  // namespace

TEST_CASE("the limit of a service's control group counts, not only one at the root") {
  Groups groups("0::/system.slice/smore.service");
  CHECK(groups.available() == kUnknown);
  const std::string slice = "/sys/fs/cgroup/system.slice";
  groups.write(slice + "/smore.service", "memory.max", "1000\n");
  groups.write(slice + "/smore.service", "memory.current", "700\n");
  CHECK(groups.available() == 300);
  groups.write(slice + "/smore.service", "memory.stat",
               "anon 500\nactive_file 40\ninactive_file 60\n");
  CHECK(groups.available() == 400);
  groups.write(slice, "memory.max", "900\n");
  groups.write(slice, "memory.current", "800\n");
  CHECK(groups.available() == 100);
  groups.write(slice, "memory.current", "950\n");
  CHECK(groups.available() == 0);
  groups.write(slice, "memory.max", "max\n");
  CHECK(groups.available() == 400);
}

TEST_CASE("a container sees the limit of its group at the root, whatever its path is outside") {
  Groups second("0::/");
  second.write("/sys/fs/cgroup", "memory.max", "1000\n");
  second.write("/sys/fs/cgroup", "memory.current", "600\n");
  CHECK(second.available() == 400);

  Groups first("5:cpu:/docker/1f\n4:memory:/docker/1f\n0::/");
  const std::string memory = "/sys/fs/cgroup/memory";
  first.write(memory, "memory.limit_in_bytes", "1000\n");
  first.write(memory, "memory.usage_in_bytes", "600\n");
  CHECK(first.available() == 400);
  first.write(memory, "memory.stat",
              "active_file 1\ntotal_active_file 20\ntotal_inactive_file 30\n");
  CHECK(first.available() == 450);
  first.write(memory + "/docker/1f", "memory.limit_in_bytes", "800\n");
  first.write(memory + "/docker/1f", "memory.usage_in_bytes", "600\n");
  CHECK(first.available() == 200);
}

TEST_CASE("a limit of the address space counts") {
  constexpr uint64_t kLeft = uint64_t{64} << 20;
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  rlimit less = before;
  less.rlim_cur = pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) + kLeft;
  REQUIRE(setrlimit(RLIMIT_AS, &less) == 0);
  rlimit set{};
  REQUIRE(getrlimit(RLIMIT_AS, &set) == 0);
  if (set.rlim_cur != less.rlim_cur) {
    MESSAGE("not tested: this system, an emulator of one, takes no limit of the address space");
    return;
  }
  const uint64_t available = available_memory();
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(available <= kLeft);
}

}  // namespace smore
