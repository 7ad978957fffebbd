#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/x86/tiles_emulated.inl"

#include "backends/cpu/x86/amx_products.inl"

namespace smore {

extern const Int8Kernels kEmulatedAmxProducts;
const Int8Kernels kEmulatedAmxProducts = kTileProducts;

}  // namespace smore
