#include "core/cpu_relax.h"

#include <immintrin.h>

namespace smore {

void cpu_relax() { _mm_pause(); }

}  // namespace smore
