#include <dlfcn.h>

#include "backends/cuda/cublaslt_api.h"
#include "core/error.h"

namespace smore::cuda::cublaslt {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kUnsupported,
              "cuBLASLt cannot be used: " + what +
                  " (pip install nvidia-cublas puts libcublasLt.so.13 into nvidia/cu13/lib beside "
                  "other packages; --cublaslt PATH names it)");
}

std::string loader_error() {
  const char* error = dlerror();
  return error == nullptr ? "unknown error" : error;
}

}  // namespace

Functions open_library(std::span<const std::string> files) {
  // It is never closed: its contexts on devices live as long as the process.
  void* library = nullptr;
  std::string faults, opened;
  for (const std::string& file : files) {
    library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    opened = file;
    if (library != nullptr) break;
    faults += (faults.empty() ? "" : "; ") + loader_error();
  }
  if (library == nullptr) refuse(faults);
  Functions functions{};
  for_each_function(functions, [&]<class Fn>(const char* name, Fn& function) {
    function = reinterpret_cast<Fn>(dlsym(library, name));
    if (function == nullptr) refuse(opened + " has no function " + name);
  });
  return functions;
}

}  // namespace smore::cuda::cublaslt
