#include "backends/cpu/arm64/simd_neon.inl"

#include "backends/cpu/products.inl"

#include "backends/cpu/dense_products.inl"

#include "backends/cpu/peaks.inl"

#include "backends/cpu/elementwise.inl"

#include "backends/cpu/softmax.inl"

#include "backends/cpu/attention.inl"

#include "backends/cpu/table.inl"

namespace smore {

extern const CpuKernels kNeonKernels;
const CpuKernels kNeonKernels = make_table("neon", nullptr, nullptr);

}  // namespace smore
