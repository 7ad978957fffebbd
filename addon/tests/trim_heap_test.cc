#include "core/trim_heap.h"

#include <doctest/doctest.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace smore {
namespace {

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t all = 0;
  int64_t resident = 0;
  file >> all >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

#ifdef __GLIBC__
size_t heap_free() { return ::mallinfo2().fordblks; }
#else
size_t heap_free() { return 0; }
#endif

}  // namespace

TEST_CASE("what was freed below a block in use goes back to the system") {
  std::vector<std::unique_ptr<std::string>> blocks;
  for (int i = 0; i < 4096; ++i) blocks.push_back(std::make_unique<std::string>(16 << 10, 'x'));
  const std::string last(16 << 10, 'y');
  blocks.clear();
  const int64_t before = resident_bytes();
  const bool own_heap = heap_free() < (32 << 20);  // a sanitizer's, which nothing trims
  trim_heap();
  if (!own_heap) CHECK(resident_bytes() < before - (32 << 20));
  CHECK(last.back() == 'y');
}

}  // namespace smore
