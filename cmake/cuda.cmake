# The CUDA backend, twice from one source: smore_cuda by nvcc for devices, smore_cuda_emulated by the
# host's compiler for tests. Object libraries, one of which (or smore_no_cuda) a program links.
file(GLOB SMORE_CUDA_SOURCES CONFIGURE_DEPENDS addon/backends/cuda/*.cc addon/backends/cuda/*.cu)

# The variable of the environment is for builds that name no options of CMake, as npm's.
set(SMORE_CUDA_DEFAULT AUTO)
if(DEFINED ENV{SMORE_CUDA})
  set(SMORE_CUDA_DEFAULT $ENV{SMORE_CUDA})
endif()
set(SMORE_CUDA ${SMORE_CUDA_DEFAULT} CACHE STRING "GPUs: ON, OFF, or AUTO = where nvcc 12 or later is found")
set_property(CACHE SMORE_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SMORE_HAS_CUDA OFF)
if(NOT SMORE_CUDA STREQUAL "OFF" AND NOT CMAKE_CROSSCOMPILING AND NOT SMORE_SANITIZE)
  # PTX of the newest lets later devices compile it for themselves.
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12)
      set(SMORE_HAS_CUDA ON)
    endif()
  endif()
  if(SMORE_CUDA STREQUAL "ON" AND NOT SMORE_HAS_CUDA)
    message(FATAL_ERROR "SMORE_CUDA=ON needs nvcc 12 or later, and CMake found ${CMAKE_CUDA_COMPILER}")
  endif()
endif()

if(SMORE_HAS_CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")  # which CMake before 3.26 does not know
  add_library(smore_cuda OBJECT ${SMORE_CUDA_SOURCES} addon/backends/cuda/runtime/runtime.cu)
  target_include_directories(smore_cuda PRIVATE addon addon/backends/cuda/runtime)
  # It draws the tokens that the CPU draws, whose products and sums are not fused.
  set_source_files_properties(addon/backends/cuda/sampling.cu PROPERTIES COMPILE_OPTIONS -fmad=false)
  # The runtime is linked statically, and looks for the driver when it is first asked: a program
  # starts where there is none.
  set_target_properties(smore_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  target_compile_options(smore_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xcompiler=-Wall;-Xcompiler=-Wextra>)
  if(SMORE_WERROR)
    target_compile_options(smore_cuda PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>
                                              $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
endif()

add_library(smore_no_cuda OBJECT EXCLUDE_FROM_ALL addon/backends/no_cuda/no_cuda.cc)
target_include_directories(smore_no_cuda PRIVATE addon)
target_link_libraries(smore_no_cuda PRIVATE smore_options)

# What programs link for devices, and tests.
set(SMORE_DEVICES smore_no_cuda)
set(SMORE_TEST_DEVICES smore_no_cuda)
if(SMORE_HAS_CUDA)
  set(SMORE_DEVICES smore_cuda)
endif()

# One fibre per thread of a block needs a switch of stacks written for the machine. Elsewhere the
# tests of devices are left out.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(SMORE_FIBRES x86)
  add_subdirectory(addon/backends/cuda/emulated)
  set(SMORE_TEST_DEVICES smore_cuda_emulated)
endif()
