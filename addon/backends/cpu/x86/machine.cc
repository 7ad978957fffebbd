#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "backends/cpu/kernels.h"

namespace smore {

extern const CpuKernels kAvx2Kernels;
extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAvx512Bf16Kernels;
extern const IntegerKernels* const kAmxProducts;

namespace {

struct Found {
  std::array<const CpuKernels*, 5> tables;
  size_t count = 0;
};

// Whether the processor has tiles of int8 and the operating system lets this process use them,
// which it must be asked for.
bool amx_granted() {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  constexpr unsigned kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
  if ((edx & kAmxTile) == 0 || (edx & kAmxInt8) == 0) return false;
  constexpr int kAskForState = 0x1023, kGrantedStates = 0x1022;  // ARCH_{REQ,GET}_XCOMP_PERM
  constexpr int kTileData = 18;
  if (syscall(SYS_arch_prctl, kAskForState, kTileData) != 0) return false;
  uint64_t granted = 0;
  return syscall(SYS_arch_prctl, kGrantedStates, &granted) == 0 && (granted >> kTileData & 1) != 0;
}

// The best AVX-512 table with products on tiles.
const CpuKernels& amx_kernels() {
  static const CpuKernels table = [] {
    CpuKernels amx = kAvx512Bf16Kernels;
    amx.name = "amx";
    amx.integer = kAmxProducts;
    return amx;
  }();
  return table;
}

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
    // Behind the path it extends, so that it is taken only by name: its tiles are proven on their
    // portable twin, not yet on a processor that has them.
    if (kAmxProducts && amx_granted()) found.tables[found.count++] = &amx_kernels();
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
