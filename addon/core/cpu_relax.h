#pragma once

namespace smore {

// Tells the processor that the caller spins, which leaves a sibling hyper-thread its share of the
// core.
void cpu_relax();

}  // namespace smore
