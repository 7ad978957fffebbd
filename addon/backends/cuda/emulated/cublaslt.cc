#include "backends/cuda/emulated/cublaslt.h"

#include <cstring>

#include "backends/cuda/cublaslt_api.h"
#include "backends/cuda/emulated/memory.h"
#include "backends/cuda/emulated/streams.h"
#include "core/dtype.h"

// cuBLASLt as far as products of bfloat16 go, in plain loops. It accepts what the library's
// documentation allows and no more, and its kernels do the shape that they were chosen for alone.

namespace smore::cuda::cublaslt {

struct Handle {};
struct Operation {
  int32_t transpose_a = 0;
};
struct Layout {
  DataType type;
  uint64_t rows, columns;
  int64_t stride;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t schemes = 7;  // all
  uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace {

constexpr Status kInvalidValue = 7;
constexpr Status kNotSupported = 15;
constexpr uint32_t kSplitSums = 2;  // a scheme of reduction
constexpr uint64_t kOneWorkspace = 4096;

// What `data` of an algorithm is here.
struct Kernel {
  uint64_t outs, columns, stride, alignment_w, alignment_y, workspace;
  uint64_t rows;  // of which it does multiples
  uint32_t splits, scheme;
};
static_assert(sizeof(Kernel) == sizeof(Algorithm));

Kernel kernel_of(const Algorithm& algorithm) {
  Kernel kernel;
  std::memcpy(&kernel, &algorithm, sizeof kernel);
  return kernel;
}

template <class T, class... Arguments>
Status create(T** made, Arguments... arguments) {
  *made = new T{arguments...};
  return kSuccess;
}

template <class T>
Status destroy(T* made) {
  delete made;
  return kSuccess;
}

template <class T>
Status assign(T& to, const void* from, size_t bytes) {
  if (bytes != sizeof to) return kInvalidValue;
  std::memcpy(&to, from, bytes);
  return kSuccess;
}

const char* status_name(Status status) {
  return status == kNotSupported ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE";
}

Status create_operation(Operation** made, ComputeType compute, DataType scale) {
  if (compute != kComputeFloat32 || scale != kFloat32) return kNotSupported;
  return create(made);
}

Status set_operation(Operation* operation, OperationAttribute attribute, const void* value,
                     size_t bytes) {
  if (attribute != kTransposeA) return kInvalidValue;
  return assign(operation->transpose_a, value, bytes);
}

Status create_layout(Layout** made, DataType type, uint64_t rows, uint64_t columns,
                     int64_t stride) {
  if (stride < static_cast<int64_t>(rows)) return kInvalidValue;
  return create(made, type, rows, columns, stride);
}

Status set_preference(Preference* preference, PreferenceAttribute attribute, const void* value,
                      size_t bytes) {
  switch (attribute) {
    case kMostWorkspace:
      return assign(preference->workspace, value, bytes);
    case kReductionSchemes:
      return assign(preference->schemes, value, bytes);
    case kAlignmentA:
    case kAlignmentB:
    case kAlignmentC:
    case kAlignmentD:
      return assign(preference->alignment[attribute - kAlignmentA], value, bytes);
  }
  return kInvalidValue;
}

Status check_layouts(const Operation& operation, const Layout& a, const Layout& b, const Layout& c,
                     const Layout& d) {
  constexpr int64_t kWord = 8;  // of bfloat16, which tensor cores read at once
  const bool fit = operation.transpose_a == kTransposed && a.rows == b.rows &&
                   a.columns == d.rows && b.columns == d.columns && c.rows == d.rows &&
                   c.columns == d.columns && c.stride == d.stride;
  if (!fit) return kInvalidValue;
  const bool known = a.type == kBfloat16 && b.type == kBfloat16 && c.type == kFloat32 &&
                     d.type == kFloat32 && a.stride % kWord == 0 && b.stride % kWord == 0;
  return known ? kSuccess : kNotSupported;
}

// None but the last candidate does what is wanted, each for a reason of its own, as if a wish were
// overlooked.
Status get_candidates(Handle*, Operation* operation, Layout* a, Layout* b, Layout* c, Layout* d,
                      Preference* preference, int wanted, Candidate* candidates, int* found) {
  *found = 0;
  if (const Status status = check_layouts(*operation, *a, *b, *c, *d)) return status;
  const auto kernel = [&](uint64_t workspace, uint64_t rows, uint32_t splits, uint32_t scheme) {
    return Kernel{.outs = d->rows,
                  .columns = a->rows,
                  .stride = static_cast<uint64_t>(d->stride),
                  .alignment_w = preference->alignment[0],
                  .alignment_y = preference->alignment[3],
                  .workspace = workspace,
                  .rows = rows,
                  .splits = splits,
                  .scheme = scheme};
  };
  const Kernel kernels[] = {
      kernel(kOneWorkspace, 1, 4, kNoReduction), kernel(kOneWorkspace, 1, 1, kSplitSums),
      kernel(preference->workspace + 1, 1, 1, kNoReduction),
      kernel(kOneWorkspace, 2, 1, kNoReduction), kernel(kOneWorkspace, 1, 1, kNoReduction)};
  if (preference->workspace < kOneWorkspace) return kNotSupported;
  for (const Kernel& kernel : kernels) {
    if (*found == wanted) break;
    Candidate& candidate = candidates[(*found)++];
    candidate = {};
    std::memcpy(&candidate.algorithm, &kernel, sizeof kernel);
    candidate.workspace_bytes = kernel.workspace;
  }
  emulated::library_choices += 1;
  return kSuccess;
}

Status get_attribute(const Algorithm* algorithm, AlgorithmAttribute attribute, void* value,
                     size_t bytes, size_t* written) {
  if (bytes != sizeof(uint32_t)) return kInvalidValue;
  const Kernel kernel = kernel_of(*algorithm);
  const auto told = static_cast<uint32_t>(attribute == kSplits ? kernel.splits : kernel.scheme);
  std::memcpy(value, &told, sizeof told);
  *written = sizeof told;
  return kSuccess;
}

Status check_algorithm(Handle*, Operation* operation, Layout* a, Layout* b, Layout* c, Layout* d,
                       const Algorithm* algorithm, Candidate* told) {
  if (const Status status = check_layouts(*operation, *a, *b, *c, *d)) return status;
  const Kernel kernel = kernel_of(*algorithm);
  const bool same = kernel.outs == d->rows && kernel.columns == a->rows &&
                    kernel.stride == static_cast<uint64_t>(d->stride);
  told->workspace_bytes = kernel.workspace;
  if (!same) return kInvalidValue;
  return d->columns % kernel.rows == 0 ? kSuccess : kNotSupported;
}

bool aligned(const void* data, uint64_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % alignment == 0;
}

struct Product {
  const uint16_t* w;
  const uint16_t* x;
  float* y;
  std::byte* workspace;
  uint64_t outs, columns, rows;
  int64_t w_stride, x_stride, y_stride;
};

// The workspace is overwritten, as it may be.
void multiply(const Product& p) {
  std::memset(p.workspace, 0xff, kOneWorkspace);
  for (uint64_t row = 0; row < p.rows; ++row) {
    for (uint64_t out = 0; out < p.outs; ++out) {
      const uint16_t* w = p.w + out * p.w_stride;
      const uint16_t* x = p.x + row * p.x_stride;
      float sum = 0;
      for (uint64_t i = p.columns; i-- > 0;) {
        sum += bfloat16_to_float(w[i]) * bfloat16_to_float(x[i]);
      }
      p.y[row * p.y_stride + out] = sum;
    }
  }
}

Status put_product(Handle*, Operation* operation, const void* alpha, const void* a,
                   Layout* a_layout, const void* b, Layout* b_layout, const void* beta,
                   const void* c, Layout* c_layout, void* d, Layout* d_layout,
                   const Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                   void* stream) {
  Candidate told;
  if (const Status status = check_algorithm(nullptr, operation, a_layout, b_layout, c_layout,
                                            d_layout, algorithm, &told)) {
    return status;
  }
  const Kernel kernel = kernel_of(*algorithm);
  const bool plain =
      *static_cast<const float*>(alpha) == 1 && *static_cast<const float*>(beta) == 0;
  if (!plain || c != d || workspace_bytes < kernel.workspace || kernel.splits != 1 ||
      kernel.scheme != kNoReduction || !aligned(a, kernel.alignment_w) ||
      !aligned(b, kernel.alignment_w) || !aligned(d, kernel.alignment_y)) {
    return kInvalidValue;
  }
  const Product product{.w = static_cast<const uint16_t*>(a),
                        .x = static_cast<const uint16_t*>(b),
                        .y = static_cast<float*>(d),
                        .workspace = static_cast<std::byte*>(workspace),
                        .outs = d_layout->rows,
                        .columns = a_layout->rows,
                        .rows = d_layout->columns,
                        .w_stride = a_layout->stride,
                        .x_stride = b_layout->stride,
                        .y_stride = d_layout->stride};
  emulated::require_on_device(product.w, 2 * product.w_stride * product.outs,
                              emulated::current_device);
  emulated::require_on_device(product.x, 2 * product.x_stride * product.rows,
                              emulated::current_device);
  emulated::require_on_device(workspace, workspace_bytes, emulated::current_device);
  emulated::library_products += 1;
  emulated::enqueue(*static_cast<const Stream*>(stream), [product] { multiply(product); });
  return kSuccess;
}

}  // namespace

Functions open(const std::string& file) {
  if (!file.empty()) return open_library({&file, 1});
  return {.cublasLtCreate = create<Handle>,
          .cublasLtDestroy = destroy<Handle>,
          .cublasLtGetStatusName = status_name,
          .cublasLtMatmulDescCreate = create_operation,
          .cublasLtMatmulDescDestroy = destroy<Operation>,
          .cublasLtMatmulDescSetAttribute = set_operation,
          .cublasLtMatrixLayoutCreate = create_layout,
          .cublasLtMatrixLayoutDestroy = destroy<Layout>,
          .cublasLtMatmulPreferenceCreate = create<Preference>,
          .cublasLtMatmulPreferenceDestroy = destroy<Preference>,
          .cublasLtMatmulPreferenceSetAttribute = set_preference,
          .cublasLtMatmulAlgoGetHeuristic = get_candidates,
          .cublasLtMatmulAlgoConfigGetAttribute = get_attribute,
          .cublasLtMatmulAlgoCheck = check_algorithm,
          .cublasLtMatmul = put_product};
}

}  // namespace smore::cuda::cublaslt
