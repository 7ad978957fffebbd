#pragma once

#include <string>
#include <vector>

#include "io/safetensors.h"

namespace smore {

// The weight files of a Hugging Face folder: model.safetensors, or the shards that
// model.safetensors.index.json names, each tensor checked to be where the index says. Throws
// Error(kInvalidModel, kInvalidFile, kUnsupported, kIo).
std::vector<SafetensorsFile> open_weight_files(const std::string& folder);

}  // namespace smore
