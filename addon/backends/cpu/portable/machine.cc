#include "backends/cpu/kernels.h"

namespace smore {

KernelList machine_kernels() {
  static constexpr const CpuKernels* kTables[] = {&kGenericKernels};
  return {kTables, 1};
}

}  // namespace smore
