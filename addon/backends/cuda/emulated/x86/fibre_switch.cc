#include "backends/cuda/emulated/fibre_switch.h"

#include <cstdint>

asm(R"(
.text
.globl smore_switch_fibre
.type smore_switch_fibre, @function
smore_switch_fibre:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size smore_switch_fibre, .-smore_switch_fibre
)");

namespace smore::cuda::emulated {

void* prepare_fibre(std::byte* stack, size_t bytes, void (*entry)()) {
  auto* top =
      reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(stack + bytes) & ~uintptr_t{15});
  *--top = 0;  // where entry would return to; also the alignment of a stack at a function's start
  *--top = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  return top;
}

}  // namespace smore::cuda::emulated
