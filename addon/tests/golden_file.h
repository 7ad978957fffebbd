#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace smore {

// Expected outputs of a model folder (test/fixtures/*/golden.safetensors), by name.
class GoldenFile {
 public:
  explicit GoldenFile(const std::string& path) : file_(open_safetensors(path)) {}

  bool has(const std::string& name) const { return find(name) != nullptr; }

  const TensorView& tensor(const std::string& name) const {
    const TensorView* found = find(name);
    REQUIRE_MESSAGE(found != nullptr, name);
    return *found;
  }

  std::vector<int32_t> ints(const std::string& name) const {
    const TensorView& view = tensor(name);
    REQUIRE(view.dtype == DType::kI32);
    const int32_t* data = static_cast<const int32_t*>(view.data);
    return {data, data + view.elements()};
  }

  std::vector<float> floats(const std::string& name) const { return to_floats(tensor(name)); }

 private:
  const TensorView* find(const std::string& name) const {
    for (const TensorView& view : file_.content.tensors) {
      if (view.name == name) return &view;
    }
    return nullptr;
  }

  SafetensorsFile file_;
};

// Largest difference as a share of the largest expected value.
inline double relative_error(std::span<const float> got, std::span<const float> want) {
  REQUIRE(got.size() == want.size());
  double difference = 0;
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference = std::max(difference, std::fabs(double{got[i]} - double{want[i]}));
    largest = std::max(largest, std::fabs(double{want[i]}));
    if (std::isnan(got[i])) return INFINITY;
  }
  return difference / largest;
}

}  // namespace smore
