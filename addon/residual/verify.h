#pragma once

#include <string>

#include "backends/backend.h"

namespace smore {

struct VerifyResult {
  std::string file;
  bool passed = false;
  std::string detail;  // worst relative error, or the first thing that differs
};

// Runs one single-layer golden file (an adapted linear with inputs and expected outputs) through
// the code that the server runs: the base linear as a backend product, the adapter through loader,
// cache and residual step, in several splits of the file's tokens into batches, with base-only rows
// among them. Outputs must be within 1e-4 of the largest expected value, routing equal, and a row's
// bits the same in every batch. Never throws: a file that cannot be read is a failure with its
// message.
VerifyResult verify_layer(const std::string& file, Backend& backend);

}  // namespace smore
