#pragma once

#include "backends/backend.h"

namespace smore {

// What the machine can do at most, measured on this many threads.
struct Peaks {
  double read_bytes;        // a second, of a buffer far larger than the caches
  double int8_operations;   // a second: multiplications and additions of int8 products
  double float_operations;  // likewise of float32
};

// Measures by the instructions of a kernel path; takes about a second. options as for
// make_cpu_backend.
Peaks measure_peaks(const BackendOptions& options);

}  // namespace smore
