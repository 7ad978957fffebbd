# Kernel files by instruction set: addon/backends/cpu/*_avx2.cc and so on.
file(GLOB SMORE_AVX2 CONFIGURE_DEPENDS addon/*/*_avx2.cc addon/backends/cpu/*_avx2.cc)
file(GLOB SMORE_AVX512 CONFIGURE_DEPENDS addon/backends/cpu/*_avx512.cc)
file(GLOB SMORE_AMX CONFIGURE_DEPENDS addon/backends/cpu/*_amx.cc)
set_source_files_properties(${SMORE_AVX2} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
set_source_files_properties(${SMORE_AVX512} PROPERTIES COMPILE_OPTIONS
  "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx512bf16")
set_source_files_properties(${SMORE_AMX} PROPERTIES COMPILE_OPTIONS
  "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx512bf16;-mamx-tile;-mamx-int8;-mamx-bf16")
