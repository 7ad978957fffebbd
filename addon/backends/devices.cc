#include <charconv>

#include "backends/backend.h"
#include "core/error.h"

namespace smore {
namespace {

constexpr std::string_view kCuda = "cuda:";

// -1 for what is no number.
int parse_index(std::string_view text) {
  int index = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  return error == std::errc() && end == text.data() + text.size() ? index : -1;
}

// What a name says; -1 = the CPU.
int index_of(const std::string& device, const BackendOptions& options) {
  if (device == "cpu") return -1;
  if (device == "auto") {
    if (!options.path.empty()) return -1;  // a kernel path is one of the CPU's
    const CudaDevices gpus = cuda_devices();
    return gpus.usable.empty() ? -1 : gpus.usable.front();
  }
  const int index = device.starts_with(kCuda) ? parse_index(device.substr(kCuda.size())) : -1;
  if (index >= 0) return index;
  throw Error(ErrorCode::kInvalidArgument,
              "devices are cpu, auto or cuda:0 and so on, not \"" + device + "\"");
}

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string& device, const BackendOptions& options) {
  const int index = index_of(device, options);
  return index < 0 ? make_cpu_backend(options) : make_cuda_backend(options, index);
}

std::optional<uint64_t> device_memory(const std::string& device, const BackendOptions& options) {
  const int index = index_of(device, options);
  return index < 0 ? std::nullopt : std::optional(cuda_memory(index));
}

}  // namespace smore
