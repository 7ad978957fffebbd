#include "backends/cuda/cublaslt.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "core/check.h"
#include "core/error.h"

namespace smore::cuda {

using cublaslt::Candidate;
using cublaslt::Functions;
using cublaslt::Status;

namespace {

constexpr int kCandidates = 16;
constexpr uint32_t kInputAlignment = 256;  // bytes

void check_status(const Functions& functions, Status status, const char* what) {
  if (status == cublaslt::kSuccess) return;
  throw Error(ErrorCode::kDevice,
              std::string("cuBLASLt: ") + what + ": " + functions.cublasLtGetStatusName(status));
}

// Its matrices lie column by column: there w is [columns, outs] and to be transposed, x is
// [columns, rows] and y is [outs, rows].
class Layouts {
 public:
  Layouts(const Functions& functions, const CublasLt::Shape& shape, int rows)
      : w_(make(functions, cublaslt::kBfloat16, shape.columns, shape.outs, shape.columns)),
        x_(make(functions, cublaslt::kBfloat16, shape.columns, rows, shape.columns)),
        y_(make(functions, cublaslt::kFloat32, shape.outs, rows, shape.y_stride)) {}

  cublaslt::Layout* w() const { return w_.get(); }
  cublaslt::Layout* x() const { return x_.get(); }
  cublaslt::Layout* y() const { return y_.get(); }

 private:
  using Owned = std::unique_ptr<cublaslt::Layout, Status (*)(cublaslt::Layout*)>;

  static Owned make(const Functions& functions, cublaslt::DataType type, int rows, int columns,
                    int64_t stride) {
    cublaslt::Layout* layout = nullptr;
    check_status(functions,
                 functions.cublasLtMatrixLayoutCreate(&layout, type, rows, columns, stride),
                 "layout of a matrix");
    return {layout, functions.cublasLtMatrixLayoutDestroy};
  }

  Owned w_, x_, y_;
};

class Wishes {
 public:
  Wishes(const Functions& functions, const CublasLt::Shape& shape)
      : functions_(functions), made_(make(functions)) {
    set(cublaslt::kMostWorkspace, uint64_t{CublasLt::kWorkspaceBytes});
    set(cublaslt::kReductionSchemes, cublaslt::kNoReduction);
    set(cublaslt::kAlignmentA, kInputAlignment);
    set(cublaslt::kAlignmentB, kInputAlignment);
    set(cublaslt::kAlignmentC, static_cast<uint32_t>(shape.y_alignment));
    set(cublaslt::kAlignmentD, static_cast<uint32_t>(shape.y_alignment));
  }

  cublaslt::Preference* get() const { return made_.get(); }

 private:
  using Owned = std::unique_ptr<cublaslt::Preference, Status (*)(cublaslt::Preference*)>;

  static Owned make(const Functions& functions) {
    cublaslt::Preference* made = nullptr;
    check_status(functions, functions.cublasLtMatmulPreferenceCreate(&made), "preferences");
    return {made, functions.cublasLtMatmulPreferenceDestroy};
  }

  template <class T>
  void set(cublaslt::PreferenceAttribute attribute, T value) {
    check_status(functions_,
                 functions_.cublasLtMatmulPreferenceSetAttribute(made_.get(), attribute, &value,
                                                                 sizeof value),
                 "preferences");
  }

  const Functions& functions_;
  Owned made_;
};

template <class T>
T attribute_of(const Functions& functions, const cublaslt::Algorithm& algorithm,
               cublaslt::AlgorithmAttribute attribute) {
  T value{};
  size_t written = 0;
  check_status(functions,
               functions.cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value,
                                                              sizeof value, &written),
               "facts of a kernel");
  return value;
}

}  // namespace

CublasLt::CublasLt(const std::string& file) : functions_(cublaslt::open(file)) {
  check(functions_.cublasLtCreate(&handle_), "start");
  try {
    check(functions_.cublasLtMatmulDescCreate(&operation_, cublaslt::kComputeFloat32,
                                              cublaslt::kFloat32),
          "kind of product");
    check(functions_.cublasLtMatmulDescSetAttribute(operation_, cublaslt::kTransposeA,
                                                    &cublaslt::kTransposed,
                                                    sizeof cublaslt::kTransposed),
          "kind of product");
  } catch (...) {
    if (operation_ != nullptr) functions_.cublasLtMatmulDescDestroy(operation_);
    functions_.cublasLtDestroy(handle_);
    throw;
  }
}

CublasLt::~CublasLt() {
  functions_.cublasLtMatmulDescDestroy(operation_);
  functions_.cublasLtDestroy(handle_);
}

void CublasLt::check(Status status, const char* what) const {
  check_status(functions_, status, what);
}

void CublasLt::choose(const Shape& shape, int least_rows, int most_rows) {
  const Layouts layouts(functions_, shape, most_rows);
  const Wishes wishes(functions_, shape);
  std::array<Candidate, kCandidates> candidates{};
  int found = 0;
  const Status status = functions_.cublasLtMatmulAlgoGetHeuristic(
      handle_, operation_, layouts.w(), layouts.x(), layouts.y(), layouts.y(), wishes.get(),
      kCandidates, candidates.data(), &found);
  for (int i = 0; i < found && status == cublaslt::kSuccess; ++i) {
    if (!usable(shape, candidates[i], least_rows, most_rows)) continue;
    chosen_.emplace(shape, candidates[i].algorithm);
    return;
  }
  throw Error(ErrorCode::kDevice,
              "cuBLASLt has no kernel for " + std::to_string(shape.outs) + " outputs of " +
                  std::to_string(shape.columns) +
                  " columns without split sums: " + functions_.cublasLtGetStatusName(status));
}

// Asked for some counts of rows, odd and even ones and those beside whole blocks, between the least
// and the most.
bool CublasLt::usable(const Shape& shape, const Candidate& candidate, int least_rows,
                      int most_rows) const {
  if (candidate.state != cublaslt::kSuccess) return false;
  const cublaslt::Algorithm& algorithm = candidate.algorithm;
  if (attribute_of<uint32_t>(functions_, algorithm, cublaslt::kReductionScheme) !=
          cublaslt::kNoReduction ||
      attribute_of<int32_t>(functions_, algorithm, cublaslt::kSplits) > 1) {
    return false;
  }
  const std::array<int, 6> counts = {least_rows,           least_rows + 1, least_rows + 127,
                                     least_rows + 1 + 127, most_rows - 1,  most_rows};
  return std::all_of(counts.begin(), counts.end(), [&](int rows) {
    const Layouts some(functions_, shape, std::clamp(rows, least_rows, most_rows));
    Candidate told{};
    return functions_.cublasLtMatmulAlgoCheck(handle_, operation_, some.w(), some.x(), some.y(),
                                              some.y(), &algorithm, &told) == cublaslt::kSuccess &&
           told.workspace_bytes <= kWorkspaceBytes;
  });
}

void CublasLt::multiply(const Shape& shape, const std::byte* w, const std::byte* x, int rows,
                        float* y, std::byte* workspace, const Stream& stream) const {
  const auto at = chosen_.find(shape);
  SMORE_CHECK(at != chosen_.end(), "no kernel was chosen for a product");
  const Layouts layouts(functions_, shape, rows);
  const float alpha = 1, beta = 0;
  stream.catch_up();
  check(functions_.cublasLtMatmul(handle_, operation_, &alpha, w, layouts.w(), x, layouts.x(),
                                  &beta, y, layouts.y(), y, layouts.y(), &at->second, workspace,
                                  kWorkspaceBytes, native_handle(stream)),
        "product");
}

}  // namespace smore::cuda
