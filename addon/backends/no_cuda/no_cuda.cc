#include "backends/backend.h"
#include "core/error.h"

namespace smore {

namespace {

constexpr const char* kFault =
    "this build has no CUDA; build where nvcc 12 or later is found (cmake -DSMORE_CUDA=ON)";

}  // namespace

CudaDevices cuda_devices() { return {.usable = {}, .fault = kFault}; }

uint64_t cuda_memory(int /*device*/) { throw Error(ErrorCode::kDevice, kFault); }

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& /*options*/, int device) {
  throw Error(ErrorCode::kDevice,
              "cuda:" + std::to_string(device) + ": " + kFault + ", or serve with --device cpu");
}

}  // namespace smore
