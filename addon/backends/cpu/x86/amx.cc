#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/x86/tiles_amx.inl"

#include "backends/cpu/x86/amx_products.inl"

namespace smore {

extern const IntegerKernels* const kAmxProducts;
const IntegerKernels* const kAmxProducts = &kTileProducts;

}  // namespace smore
