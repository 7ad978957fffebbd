#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "io/mapped_file.h"

namespace smore {

// What a safetensors file holds: views into its bytes, in the order of their offsets.
struct SafetensorsContent {
  std::vector<TensorView> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads the header of a whole file's bytes, which the views point into. Throws Error(kInvalidFile)
// unless every tensor has a shape that fits its bytes and the tensors fill the file without gap or
// overlap, and Error(kUnsupported) for types that the engine does not compute with. `where` starts
// every message.
SafetensorsContent parse_safetensors(std::span<const uint8_t> bytes, const std::string& where);

struct SafetensorsFile {
  std::shared_ptr<const MappedFile> file;  // keeps the views alive
  SafetensorsContent content;
};

SafetensorsFile open_safetensors(const std::string& path);

}  // namespace smore
