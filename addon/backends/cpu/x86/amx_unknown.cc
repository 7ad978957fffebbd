#include "backends/cpu/kernels.h"

namespace smore {

// Built instead of amx.cc where the assembler does not know AMX.
extern const Int8Kernels* const kAmxProducts;
const Int8Kernels* const kAmxProducts = nullptr;

}  // namespace smore
