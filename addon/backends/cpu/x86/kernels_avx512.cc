#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/products.inl"

#include "backends/cpu/dense_products.inl"

#include "backends/cpu/peaks.inl"

#include "backends/cpu/elementwise.inl"

#include "backends/cpu/softmax.inl"

#include "backends/cpu/attention.inl"

#include "backends/cpu/table.inl"

namespace smore {

extern const Bf16Kernels kAvx512Bf16Products;
extern const CodeKernels kAvx512CodeProducts;
extern const AttentionKernels kAvx512Bf16Attention;
extern const CpuKernels kAvx512Kernels;
extern const CpuKernels kAvx512Bf16Kernels;
const CpuKernels kAvx512Kernels = make_table("avx512vnni", nullptr, &kAvx512CodeProducts);
const CpuKernels kAvx512Bf16Kernels =
    make_table("avx512bf16", &kAvx512Bf16Products, &kAvx512CodeProducts, &kAvx512Bf16Attention);

}  // namespace smore
