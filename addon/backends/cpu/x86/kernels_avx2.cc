#include "backends/cpu/x86/simd_avx2.inl"

#include "backends/cpu/products.inl"

#include "backends/cpu/dense_products.inl"

#include "backends/cpu/peaks.inl"

#include "backends/cpu/elementwise.inl"

#include "backends/cpu/softmax.inl"

#include "backends/cpu/attention.inl"

#include "backends/cpu/table.inl"

namespace smore {

extern const CpuKernels kAvx2Kernels;
const CpuKernels kAvx2Kernels = make_table("avx2", nullptr, nullptr);

}  // namespace smore
