#include "core/trim_heap.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace smore {

#ifdef __GLIBC__
bool trim_heap() { return ::malloc_trim(0) != 0; }
#else
// Other C libraries give pages back by themselves, or not at all.
bool trim_heap() { return false; }
#endif

}  // namespace smore
