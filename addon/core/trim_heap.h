#pragma once

namespace smore {

// Gives the free pages within the C library's heap back to the system, which it would keep below
// whatever is still in use above them. Takes tens of milliseconds per gigabyte kept; others that
// allocate may wait so long. Whether pages were given back.
bool trim_heap();

}  // namespace smore
