#pragma once

#include <cstddef>

namespace smore::cuda::emulated {

// Leaves the running stack, whose pointer goes to *from, for the one that was left, or prepared, at
// `to`. Keeps what a function call must keep.
extern "C" void smore_switch_fibre(void** from, void* to);

// Prepares a stack for a first switch to it, which calls entry; entry must never return. Gives what
// to switch to.
void* prepare_fibre(std::byte* stack, size_t bytes, void (*entry)());

}  // namespace smore::cuda::emulated
