#include "engine/memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>

namespace smore {

namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

uint64_t left_of(uint64_t limit, uint64_t used) { return limit - std::min(limit, used); }

uint64_t read_number(const std::string& path) {
  std::ifstream file(path);
  uint64_t value = 0;
  return file >> value ? value : kUnknown;  // a control group without a limit says "max"
}

uint64_t machine_available() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  uint64_t kilobytes = 0;
  std::string unit;
  while (file >> key >> kilobytes) {
    if (key == "MemAvailable:") return kilobytes * 1024;
    std::getline(file, unit);
  }
  return kUnknown;
}

// How a version of control groups calls what a group tells of memory.
struct GroupFiles {
  const char* mount;
  const char* limit;
  const char* used;
  const char* cache[2];  // in memory.stat, of the group and those below it
};

constexpr GroupFiles kVersion1 = {.mount = "/sys/fs/cgroup/memory",
                                  .limit = "/memory.limit_in_bytes",
                                  .used = "/memory.usage_in_bytes",
                                  .cache = {"total_active_file", "total_inactive_file"}};
constexpr GroupFiles kVersion2 = {.mount = "/sys/fs/cgroup",
                                  .limit = "/memory.max",
                                  .used = "/memory.current",
                                  .cache = {"active_file", "inactive_file"}};

// The page cache counts as used but gives way, so it is added back.
uint64_t group_available(const GroupFiles& files, const std::string& group) {
  const uint64_t limit = read_number(group + files.limit);
  const uint64_t used = read_number(group + files.used);
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  std::ifstream file(group + "/memory.stat");
  std::string key;
  uint64_t value = 0;
  uint64_t cache = 0;
  while (file >> key >> value) {
    if (key == files.cache[0] || key == files.cache[1]) cache += value;
  }
  return left_of(limit, left_of(used, cache));
}

// Of the address space and of what of it is data (ulimit -v and -d).
uint64_t limits_available() {
  std::ifstream file("/proc/self/statm");
  std::array<uint64_t, 6> pages{};  // size, resident, shared, text, library, data
  for (uint64_t& count : pages) {
    if (!(file >> count)) return kUnknown;
  }
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const auto left = [page](auto resource, uint64_t used) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnknown;
    return left_of(limit.rlim_cur, used * page);
  };
  return std::min(left(RLIMIT_AS, pages[0]), left(RLIMIT_DATA, pages[5]));
}

}  // namespace

uint64_t groups_available(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  uint64_t least = kUnknown;
  std::string line;  // NUMBER:CONTROLLERS:PATH, without controllers in version 2
  while (std::getline(file, line)) {
    const size_t controllers = line.find(':') + 1;
    const size_t path = line.find(':', controllers) + 1;
    const bool second = path == controllers + 1;
    if (!second && line.substr(controllers, path - controllers) != "memory:") continue;
    const GroupFiles& files = second ? kVersion2 : kVersion1;
    // Each group above has a limit, too. A path that a container does not see ends at its root.
    for (std::string group = line.substr(path);; group.resize(group.rfind('/'))) {
      least = std::min(least, group_available(files, root + files.mount + group));
      if (group.find('/') == std::string::npos) break;
    }
  }
  return least;
}

uint64_t available_memory() {
  return std::min({machine_available(), groups_available(""), limits_available()});
}

}  // namespace smore
