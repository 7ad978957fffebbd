# What only an x86-64 build has. A kernel file gets the flags of its instruction set, and of nothing
# else: it runs only after the processor was asked. No contraction of a * b + c by the compiler:
# where a kernel fuses, it says so, so that every tile rounds alike.
# GCC 12 takes the undefined operands inside its AVX-512 header for uninitialised variables.
set(SMORE_X86 addon/backends/cpu/x86)
target_sources(smore_core PRIVATE addon/core/x86/cpu_relax.cc ${SMORE_X86}/machine.cc
               ${SMORE_X86}/kernels_avx2.cc ${SMORE_X86}/kernels_avx512.cc ${SMORE_X86}/bf16_avx512.cc
               ${SMORE_X86}/attention_bf16_avx512.cc ${SMORE_X86}/codes_avx512.cc)
set_source_files_properties(addon/backends/cpu/kernels_generic.cc PROPERTIES COMPILE_OPTIONS
                            "-ffp-contract=off")
set_source_files_properties(${SMORE_X86}/kernels_avx2.cc PROPERTIES COMPILE_OPTIONS
                            "-ffp-contract=off;-mavx2;-mfma;-mf16c")
set(SMORE_AVX512 -ffp-contract=off -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
    -Wno-uninitialized -Wno-maybe-uninitialized)
set_source_files_properties(${SMORE_X86}/kernels_avx512.cc ${SMORE_X86}/codes_avx512.cc PROPERTIES COMPILE_OPTIONS
                            "${SMORE_AVX512}")
set_source_files_properties(${SMORE_X86}/bf16_avx512.cc ${SMORE_X86}/attention_bf16_avx512.cc PROPERTIES COMPILE_OPTIONS
                            "${SMORE_AVX512};-mavx512bf16")

# Tiles for AMX where the assembler knows them.
include(CheckCXXSourceCompiles)
check_cxx_source_compiles("int main() { asm volatile(\"tdpbssd %tmm2, %tmm1, %tmm0\"); }" SMORE_KNOWS_AMX)
if(SMORE_KNOWS_AMX)
  target_sources(smore_core PRIVATE ${SMORE_X86}/amx.cc)
else()
  target_sources(smore_core PRIVATE ${SMORE_X86}/amx_unknown.cc)
endif()
set_source_files_properties(${SMORE_X86}/amx.cc ${SMORE_X86}/reference_amx.cc PROPERTIES COMPILE_OPTIONS
                            "${SMORE_AVX512}")
# The same products on emulated tiles, for tests.
set(SMORE_TEST_TWINS ${SMORE_X86}/reference_amx.cc addon/tests/x86/amx_test.cc)
