#include "backends/backend.h"
#include "core/error.h"

namespace smore {

int cuda_devices() { return 0; }

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& /*options*/, int device) {
  throw Error(ErrorCode::kDevice,
              "cuda:" + std::to_string(device) +
                  ": this build has no CUDA; build where nvcc 12 or later is found (cmake "
                  "-DSMORE_CUDA=ON), or serve with --device cpu");
}

}  // namespace smore
