#pragma once

#include <compare>
#include <map>
#include <string>

#include "backends/cuda/cublaslt_api.h"
#include "backends/cuda/runtime.h"

namespace smore::cuda {

// Products of many rows by NVIDIA's cuBLASLt. It has many kernels and chooses by all sizes; here
// one is chosen for a shape and kept for every number of rows, of those whose blocks each sum all
// of their outputs' columns: none that splits them and adds the parts afterwards or with atomics.
class CublasLt {
 public:
  // y[t, o] = sum over c of w[o, c] x[t, c], in float32 of bfloat16. Beside each other lie the
  // columns of w and x, and the outputs of y.
  struct Shape {
    int outs = 0;
    int columns = 0;  // a multiple of 8
    int64_t y_stride = 0;
    int y_alignment = 0;  // bytes
    auto operator<=>(const Shape&) const = default;
  };

  // Throws Error(kUnsupported) where `file` (empty = the usual names) is no such library, and
  // Error(kDevice) where it cannot use the calling thread's device.
  explicit CublasLt(const std::string& file);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // Chooses the kernel for a shape, the best for `most_rows`, of those that can do `least_rows`
  // too. Throws Error(kDevice) where there is none.
  void choose(const Shape& shape, int least_rows, int most_rows);
  bool chosen(const Shape& shape) const { return chosen_.contains(shape); }

  // For a shape that a kernel was chosen for. w, x: aligned to 256, as is the workspace of
  // kWorkspaceBytes, which is in use until the stream has passed.
  void multiply(const Shape& shape, const std::byte* w, const std::byte* x, int rows, float* y,
                std::byte* workspace, const Stream& stream) const;

  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

 private:
  void check(cublaslt::Status status, const char* what) const;
  bool usable(const Shape& shape, const cublaslt::Candidate& candidate, int least_rows,
              int most_rows) const;

  cublaslt::Functions functions_;
  cublaslt::Handle* handle_ = nullptr;
  cublaslt::Operation* operation_ = nullptr;
  std::map<Shape, cublaslt::Algorithm> chosen_;
};

}  // namespace smore::cuda
