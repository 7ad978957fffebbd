#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

// What is used of cuBLASLt's C interface, as its header has it: the library is opened when somebody
// asks for it, by builds that need neither. addon/tests/headers holds this to the real header.

namespace smore::cuda::cublaslt {

using Status = int;
inline constexpr Status kSuccess = 0;

struct Handle;
struct Operation;
struct Layout;  // of a matrix, column by column
struct Preference;
struct Algorithm {
  uint64_t data[8];
};
struct Candidate {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

enum DataType : int { kFloat32 = 0, kBfloat16 = 14 };
enum ComputeType : int { kComputeFloat32 = 68 };
enum OperationAttribute : int { kTransposeA = 3 };  // int32_t
enum PreferenceAttribute : int {
  kMostWorkspace = 1,     // uint64_t
  kReductionSchemes = 3,  // uint32_t, a mask
  kAlignmentA = 5,        // uint32_t, bytes
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8,
};
enum AlgorithmAttribute : int {
  kSplits = 2,           // int32_t
  kReductionScheme = 3,  // uint32_t
};
inline constexpr int32_t kTransposed = 1;
inline constexpr uint32_t kNoReduction = 0;

// The functions by their names; D = alpha op(A) B + beta C.
struct Functions {
  Status (*cublasLtCreate)(Handle**);
  Status (*cublasLtDestroy)(Handle*);
  const char* (*cublasLtGetStatusName)(Status);
  Status (*cublasLtMatmulDescCreate)(Operation**, ComputeType, DataType scale);
  Status (*cublasLtMatmulDescDestroy)(Operation*);
  Status (*cublasLtMatmulDescSetAttribute)(Operation*, OperationAttribute, const void*, size_t);
  Status (*cublasLtMatrixLayoutCreate)(Layout**, DataType, uint64_t rows, uint64_t columns,
                                       int64_t stride);
  Status (*cublasLtMatrixLayoutDestroy)(Layout*);
  Status (*cublasLtMatmulPreferenceCreate)(Preference**);
  Status (*cublasLtMatmulPreferenceDestroy)(Preference*);
  Status (*cublasLtMatmulPreferenceSetAttribute)(Preference*, PreferenceAttribute, const void*,
                                                 size_t);
  Status (*cublasLtMatmulAlgoGetHeuristic)(Handle*, Operation*, Layout* a, Layout* b, Layout* c,
                                           Layout* d, Preference*, int wanted, Candidate*,
                                           int* found);
  Status (*cublasLtMatmulAlgoConfigGetAttribute)(const Algorithm*, AlgorithmAttribute, void*,
                                                 size_t, size_t* written);
  Status (*cublasLtMatmulAlgoCheck)(Handle*, Operation*, Layout* a, Layout* b, Layout* c, Layout* d,
                                    const Algorithm*, Candidate*);
  Status (*cublasLtMatmul)(Handle*, Operation*, const void* alpha, const void* a, Layout* a_layout,
                           const void* b, Layout* b_layout, const void* beta, const void* c,
                           Layout* c_layout, void* d, Layout* d_layout, const Algorithm*,
                           void* workspace, size_t workspace_bytes, void* stream);
};

// Calls fn(name, function) for each of them, in the order above.
template <class AnyFunctions, class Fn>
constexpr void for_each_function(AnyFunctions& f, Fn&& fn) {
  fn("cublasLtCreate", f.cublasLtCreate);
  fn("cublasLtDestroy", f.cublasLtDestroy);
  fn("cublasLtGetStatusName", f.cublasLtGetStatusName);
  fn("cublasLtMatmulDescCreate", f.cublasLtMatmulDescCreate);
  fn("cublasLtMatmulDescDestroy", f.cublasLtMatmulDescDestroy);
  fn("cublasLtMatmulDescSetAttribute", f.cublasLtMatmulDescSetAttribute);
  fn("cublasLtMatrixLayoutCreate", f.cublasLtMatrixLayoutCreate);
  fn("cublasLtMatrixLayoutDestroy", f.cublasLtMatrixLayoutDestroy);
  fn("cublasLtMatmulPreferenceCreate", f.cublasLtMatmulPreferenceCreate);
  fn("cublasLtMatmulPreferenceDestroy", f.cublasLtMatmulPreferenceDestroy);
  fn("cublasLtMatmulPreferenceSetAttribute", f.cublasLtMatmulPreferenceSetAttribute);
  fn("cublasLtMatmulAlgoGetHeuristic", f.cublasLtMatmulAlgoGetHeuristic);
  fn("cublasLtMatmulAlgoConfigGetAttribute", f.cublasLtMatmulAlgoConfigGetAttribute);
  fn("cublasLtMatmulAlgoCheck", f.cublasLtMatmulAlgoCheck);
  fn("cublasLtMatmul", f.cublasLtMatmul);
}

// The functions of the first of these libraries that is there: paths, or names that the loader
// looks for. Throws Error(kUnsupported) saying what is missing and how to get it.
Functions open_library(std::span<const std::string> files);

// The same of one file, or by the usual names where it is empty; the emulated device has functions
// of its own for those.
Functions open(const std::string& file);

}  // namespace smore::cuda::cublaslt
