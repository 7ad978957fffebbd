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

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string& device, const BackendOptions& options) {
  if (device == "cpu") return make_cpu_backend(options);
  if (device == "auto") {
    // A kernel path is one of the CPU's.
    const bool gpu = options.path.empty() && cuda_devices() > 0;
    return gpu ? make_cuda_backend(options, 0) : make_cpu_backend(options);
  }
  const int index = device.starts_with(kCuda) ? parse_index(device.substr(kCuda.size())) : -1;
  if (index < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "devices are cpu, auto or cuda:0 and so on, not \"" + device + "\"");
  }
  return make_cuda_backend(options, index);
}

}  // namespace smore
