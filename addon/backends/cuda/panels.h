#pragma once

#include <span>
#include <vector>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/matrix.h"

// Products of many rows with tiled matrices by cuBLASLt, which reads rows of bfloat16: outputs are
// unpacked a panel at a time into scratch memory that stays in the device's second-level cache.
//
// A weight costs its unpacking (what is stored is read, 2 bytes are written and read again) once
// whatever the rows, and two operations for each of them. At 256 rows both take an H200 about as
// long, 0.7 ps; at 4,096 rows unpacking is a twentieth of it.

namespace smore::cuda {

class PanelProducts {
 public:
  // Products of fewer rows are not for it.
  static constexpr int kLeastRows = 257;
  static constexpr size_t kPanelBytes = size_t{32} << 20;  // caches of 40 MB and more hold it

  // cublaslt: as CublasLt has it.  panel_bytes: at least a row's
  explicit PanelProducts(const std::string& cublaslt, size_t panel_bytes = kPanelBytes);

  size_t scratch_bytes() const { return panel_bytes_ + CublasLt::kWorkspaceBytes; }

  // Tells of a matrix that will be multiplied, and of the largest number of rows: kernels for all
  // that were told are chosen then, so that what cannot be multiplied is known at load.
  void expect(const TiledMatrix& matrix);
  void reserve(int most_rows);

  // y[t, o] = W x[t] + bias for the outputs of all parts but those in float32, which are left
  // alone.
  //   rounded: what round_inputs() made of x;  y: [rows, y_stride], aligned to 16
  //   scratch: scratch_bytes(), aligned to 256
  void multiply(std::span<const TiledPart> parts, const std::byte* rounded, int rows,
                const float* bias, float* y, int64_t y_stride, std::byte* scratch,
                const Stream& stream);

 private:
  // Outputs that are computed at once, perhaps of several parts.
  struct Panel {
    std::span<const TiledPart> parts;
    int first_out;
    CublasLt::Shape shape;
  };
  std::vector<Panel> panels_of(std::span<const TiledPart> parts, int64_t y_stride) const;
  void choose(const CublasLt::Shape& shape, int most_rows);

  CublasLt cublaslt_;
  size_t panel_bytes_;
  int most_rows_ = 0;
  std::vector<CublasLt::Shape> expected_;
};

}  // namespace smore::cuda
