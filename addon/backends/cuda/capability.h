#pragma once

#include <string>

namespace smore::cuda {

// Why a device of this compute capability cannot be used; empty when it can. The kernels need 8.0:
// bfloat16 in tensor cores.
inline std::string refused_capability(const std::string& name, int major, int minor) {
  constexpr int kLeastMajor = 8;
  if (major >= kLeastMajor) return "";
  return name + " has compute capability " + std::to_string(major) + "." + std::to_string(minor) +
         "; 8.0 or later is served";
}

}  // namespace smore::cuda
