#include <array>
#include <cstddef>

#include "backends/cpu/kernels.h"

namespace smore {

extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAvx512Bf16Kernels;

namespace {

struct Found {
  std::array<const CpuKernels*, 4> tables;
  size_t count = 0;
};

// The builtins also ask whether the operating system saves the registers.
Found find() {
  Found found;
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) {
    found.tables[found.count++] = &kAvx512Bf16Kernels;
  }
  if (avx512) found.tables[found.count++] = &kAvx512Kernels;
  if (avx2) found.tables[found.count++] = &kAvx2Kernels;
  found.tables[found.count++] = &kGenericKernels;
  return found;
}

}  // namespace

KernelList machine_kernels() {
  static const Found found = find();
  return {found.tables.data(), found.count};
}

}  // namespace smore
