# What only an arm64 build has (see x86_kernels.cmake). Its kernels run on Linux, where the system
# tells what the processor has.
set(SMORE_ARM64 addon/backends/cpu/arm64)
target_sources(smore_core PRIVATE addon/core/arm64/cpu_relax.cc ${SMORE_ARM64}/machine.cc
                                  ${SMORE_ARM64}/kernels_neon.cc)
set_source_files_properties(addon/backends/cpu/kernels_generic.cc PROPERTIES COMPILE_OPTIONS
                            "-ffp-contract=off")
set_source_files_properties(${SMORE_ARM64}/kernels_neon.cc PROPERTIES COMPILE_OPTIONS
                            "-ffp-contract=off;-march=armv8.2-a+dotprod")
