#include <cublasLt.h>

#include <cstddef>
#include <type_traits>

#include "backends/cuda/cublaslt_api.h"

// Compiled where NVIDIA's header is found: what cublaslt_api.h says of it is so.

namespace smore::cuda::cublaslt {
namespace {

template <class Ours, class Theirs>
constexpr bool kSameArgument =
    sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>;

template <class Ours, class Theirs>
struct SameFunctions : std::false_type {};
template <class OurResult, class... Ours, class TheirResult, class... Theirs>
  requires(sizeof...(Ours) == sizeof...(Theirs))
struct SameFunctions<OurResult (*)(Ours...), TheirResult (*)(Theirs...)>
    : std::bool_constant<kSameArgument<OurResult, TheirResult> &&
                         (kSameArgument<Ours, Theirs> && ...)> {};

#define SMORE_SAME(name) \
  static_assert(SameFunctions<decltype(Functions::name), decltype(&::name)>::value)
SMORE_SAME(cublasLtCreate);
SMORE_SAME(cublasLtDestroy);
SMORE_SAME(cublasLtGetStatusName);
SMORE_SAME(cublasLtMatmulDescCreate);
SMORE_SAME(cublasLtMatmulDescDestroy);
SMORE_SAME(cublasLtMatmulDescSetAttribute);
SMORE_SAME(cublasLtMatrixLayoutCreate);
SMORE_SAME(cublasLtMatrixLayoutDestroy);
SMORE_SAME(cublasLtMatmulPreferenceCreate);
SMORE_SAME(cublasLtMatmulPreferenceDestroy);
SMORE_SAME(cublasLtMatmulPreferenceSetAttribute);
SMORE_SAME(cublasLtMatmulAlgoGetHeuristic);
SMORE_SAME(cublasLtMatmulAlgoConfigGetAttribute);
SMORE_SAME(cublasLtMatmulAlgoCheck);
SMORE_SAME(cublasLtMatmul);

static_assert(kSuccess == CUBLAS_STATUS_SUCCESS);
static_assert(int{kFloat32} == CUDA_R_32F);
static_assert(int{kBfloat16} == CUDA_R_16BF);
static_assert(int{kComputeFloat32} == CUBLAS_COMPUTE_32F);
static_assert(int{kTransposeA} == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(kTransposed == CUBLAS_OP_T);
static_assert(int{kMostWorkspace} == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(int{kReductionSchemes} == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
static_assert(int{kAlignmentA} == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
static_assert(int{kAlignmentB} == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
static_assert(int{kAlignmentC} == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
static_assert(int{kAlignmentD} == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(int{kSplits} == CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
static_assert(int{kReductionScheme} == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
static_assert(kNoReduction == CUBLASLT_REDUCTION_SCHEME_NONE);
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Candidate) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(Candidate, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(Candidate, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));

}  // namespace
}  // namespace smore::cuda::cublaslt
