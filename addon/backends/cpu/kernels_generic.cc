#include "backends/cpu/simd_generic.inl"

#include "backends/cpu/products.inl"

#include "backends/cpu/dense_products.inl"

#include "backends/cpu/peaks.inl"

#include "backends/cpu/elementwise.inl"

#include "backends/cpu/softmax.inl"

#include "backends/cpu/attention.inl"

#include "backends/cpu/table.inl"

namespace smore {

const CpuKernels kGenericKernels = make_table("generic", nullptr, nullptr);

}  // namespace smore
