#pragma once

namespace smore {

// One expert of one level of one adapted linear: the unit that is loaded and evicted.
struct PageKey {
  int adapter = 0;  // handle
  int page = 0;     // in the adapter's own numbering
};

}  // namespace smore
