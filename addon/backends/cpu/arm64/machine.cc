#include <sys/auxv.h>

#include "backends/cpu/kernels.h"

namespace smore {

extern const CpuKernels kNeonKernels;

KernelList machine_kernels() {
  static constexpr const CpuKernels* kTables[] = {&kNeonKernels, &kGenericKernels};
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  if ((getauxval(AT_HWCAP) & kDotProducts) != 0) return {kTables, 2};
  return {kTables + 1, 1};
}

}  // namespace smore
