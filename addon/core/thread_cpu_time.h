#pragma once

namespace smore {

// Seconds that the calling thread has computed, without what it waited for a core.
double thread_cpu_seconds();

}  // namespace smore
