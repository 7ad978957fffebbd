#pragma once

#include <cstdint>

#include "model/source.h"

// What every backend asks of a matrix that it packs.

namespace smore {

// Throws Error(kInvalidModel, kUnsupported) unless the matrix can be a part of one with so many
// columns.
void check_matrix_source(const MatrixSource& source, int64_t columns);

// Row of the file that output `out` of the part reads.
int64_t source_row(const MatrixSource& source, int64_t out);

}  // namespace smore
