#include "core/tensor.h"

#include <algorithm>

namespace smore {

bool is_plain_name(std::string_view name) {
  const bool printable = std::ranges::none_of(
      name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return printable && !name.empty() && name.size() <= 65535;
}

std::string shape_text(const TensorInfo& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.rank; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(tensor.shape[i]);
  }
  return text + "]";
}

std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.elements()));
  to_float(tensor.dtype, tensor.data, tensor.elements(), values.data());
  return values;
}

}  // namespace smore
