#include <vector>

#include "backends/cuda/cublaslt_api.h"

namespace smore::cuda::cublaslt {

Functions open(const std::string& file) {
  const std::vector<std::string> usual{"libcublasLt.so.13", "libcublasLt.so.12"};
  return open_library(file.empty() ? usual : std::vector{file});
}

}  // namespace smore::cuda::cublaslt
