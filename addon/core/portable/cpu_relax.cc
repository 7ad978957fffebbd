#include "core/cpu_relax.h"

#include <atomic>

namespace smore {

void cpu_relax() { std::atomic_signal_fence(std::memory_order_seq_cst); }

}  // namespace smore
