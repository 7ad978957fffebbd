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
  file(GLOB SMORE_CUDA_RUNTIME CONFIGURE_DEPENDS addon/backends/cuda/runtime/*.cc
                                                 addon/backends/cuda/runtime/*.cu)
  add_library(smore_cuda OBJECT ${SMORE_CUDA_SOURCES} ${SMORE_CUDA_RUNTIME})
  target_include_directories(smore_cuda PRIVATE addon addon/backends/cuda/runtime)
  # As for the CPU: what fuses a product and a sum says so. Else which of them nvcc fuses could differ
  # between kernels that give a row the same bits, and from the CPU, whose tokens are drawn here too.
  set(SMORE_CUDA_FLAGS --expt-relaxed-constexpr -fmad=false)
  # The runtime is linked statically, and looks for the driver when it is first asked: a program
  # starts where there is none.
  set_target_properties(smore_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static)
  target_link_libraries(smore_cuda PUBLIC ${CMAKE_DL_LIBS})
  target_compile_options(smore_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra>
    $<$<COMPILE_LANGUAGE:CUDA>:${SMORE_CUDA_FLAGS};-Xcompiler=-Wall;-Xcompiler=-Wextra>)
  if(SMORE_WERROR)
    target_compile_options(smore_cuda PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-Werror>
      $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Werror>)
  endif()
  # What the tests look into: whether nvcc heeds that nothing is fused.
  add_library(smore_sampling_ptx OBJECT EXCLUDE_FROM_ALL addon/backends/cuda/sampling.cu)
  target_include_directories(smore_sampling_ptx PRIVATE addon addon/backends/cuda/runtime)
  target_compile_options(smore_sampling_ptx PRIVATE ${SMORE_CUDA_FLAGS})
  set_target_properties(smore_sampling_ptx PROPERTIES CUDA_PTX_COMPILATION ON CUDA_ARCHITECTURES 90)
  add_custom_command(OUTPUT rounded_products
    COMMAND ${CMAKE_COMMAND} -DPTX=$<TARGET_OBJECTS:smore_sampling_ptx>
            -P ${CMAKE_SOURCE_DIR}/cmake/rounded_products.cmake
    COMMAND ${CMAKE_COMMAND} -E touch rounded_products
    DEPENDS $<TARGET_OBJECTS:smore_sampling_ptx> cmake/rounded_products.cmake)
  add_custom_target(smore_rounded_products DEPENDS rounded_products)
endif()

# cuBLASLt is opened when it is asked for, by what cublaslt_api.h says of its interface. Where its
# header is found (of the toolkit, or of pip's nvidia-cublas), that is held against it.
if(SMORE_HAS_CUDA)
  find_package(Python3 COMPONENTS Interpreter QUIET)
  set(SMORE_PIP_FOLDER "")
  if(Python3_Interpreter_FOUND)
    execute_process(COMMAND ${Python3_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
                    OUTPUT_VARIABLE SMORE_PIP_FOLDER OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_path(SMORE_CUBLASLT_INCLUDE cublasLt.h
            HINTS $ENV{CUBLASLT_INCLUDE} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}
                  ${SMORE_PIP_FOLDER}/nvidia/cu13/include ${SMORE_PIP_FOLDER}/nvidia/cublas/include)
  if(SMORE_CUBLASLT_INCLUDE)
    add_library(smore_cublaslt_header OBJECT EXCLUDE_FROM_ALL addon/tests/headers/cublaslt_header.cc)
    target_include_directories(smore_cublaslt_header PRIVATE addon)
    target_include_directories(smore_cublaslt_header SYSTEM PRIVATE
                               ${SMORE_CUBLASLT_INCLUDE} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
    target_link_libraries(smore_cublaslt_header PRIVATE smore_options)
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
