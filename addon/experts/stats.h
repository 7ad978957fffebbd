#pragma once

#include <cstdint>
#include <string>

namespace smore {

// Counters of a cache. Totals since its start unless named otherwise.
struct CacheStats {
  uint64_t hits = 0;        // pages found resident when a step used them
  uint64_t misses = 0;      // pages that a step had to wait for
  uint64_t loads = 0;       // pages loaded, by misses and by prefetch
  uint64_t evictions = 0;   // pages
  uint64_t load_bytes = 0;  // pages and trunks
  double load_seconds = 0;
  uint64_t resident_bytes = 0;   // now, with what is being loaded
  uint64_t resident_pages = 0;   // now
  uint64_t resident_trunks = 0;  // now
};

// One adapter of a cache.
struct CachePlace {
  bool resident = false;        // its trunk is in memory
  uint64_t resident_bytes = 0;  // trunk and pages
  uint64_t hits = 0;            // as above, of its own pages
  uint64_t misses = 0;
  std::string fault;  // why a page could last not be loaded; empty = never happened
};

}  // namespace smore
