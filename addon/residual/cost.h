#pragma once

#include "residual/weights.h"

namespace smore {

// Multiplications and additions of one row on an adapted linear, however it is routed: projection,
// routers, W and W_final.
double row_operations(const SitePlan& site);

// The same of one row with one expert of a level: A and B.
double pair_operations(const SitePlan& site, int level);

}  // namespace smore
