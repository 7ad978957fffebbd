#include "core/cpu_relax.h"

namespace smore {

void cpu_relax() { asm volatile("yield"); }

}  // namespace smore
