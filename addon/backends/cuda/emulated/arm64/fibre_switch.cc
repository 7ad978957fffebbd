#include "backends/cuda/emulated/fibre_switch.h"

#include <cstdint>

asm(R"(
.text
.globl smore_switch_fibre
.type smore_switch_fibre, %function
smore_switch_fibre:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size smore_switch_fibre, .-smore_switch_fibre
)");

namespace smore::cuda::emulated {

void* prepare_fibre(std::byte* stack, size_t bytes, void (*entry)()) {
  constexpr int kSaved = 20;
  constexpr int kReturnAddress = 11;  // x30
  auto* top =
      reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{15});
  top -= kSaved;
  for (int i = 0; i < kSaved; ++i) top[i] = 0;
  top[kReturnAddress] = reinterpret_cast<uint64_t>(entry);
  return top;
}

}  // namespace smore::cuda::emulated
