#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>

namespace smore {

namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

uint64_t read_number(const char* path) {
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

// cgroup v2. The page cache counts as used there but gives way, so it is added back.
uint64_t container_available() {
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
  const uint64_t used = read_number("/sys/fs/cgroup/memory.current");
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  std::string key;
  uint64_t value = 0;
  uint64_t cache = 0;
  while (file >> key >> value) {
    if (key == "active_file" || key == "inactive_file") cache += value;
  }
  const uint64_t held = used - std::min(used, cache);
  return limit - std::min(limit, held);
}

}  // namespace

uint64_t available_memory() { return std::min(machine_available(), container_available()); }

}  // namespace smore
