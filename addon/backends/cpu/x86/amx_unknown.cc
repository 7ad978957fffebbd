#include "backends/cpu/kernels.h"

namespace smore {

// Built instead of amx.cc where the assembler does not know AMX.
extern const IntegerKernels* const kAmxProducts;
const IntegerKernels* const kAmxProducts = nullptr;

}  // namespace smore
