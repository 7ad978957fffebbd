#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/products.inl"

#include "backends/cpu/dense_products.inl"

#include "backends/cpu/elementwise.inl"

#include "backends/cpu/attention.inl"

#include "backends/cpu/table.inl"

namespace smore {

extern const CpuKernels kAvx512Kernels;
const CpuKernels kAvx512Kernels = make_table("avx512vnni");

}  // namespace smore
