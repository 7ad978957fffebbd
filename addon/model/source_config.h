#pragma once

#include <string>
#include <vector>

#include "io/gguf.h"
#include "model/config.h"
#include "model/source_families.h"

namespace smore {

// A model's configuration as its files state it.
struct StatedConfig {
  const Family* family = nullptr;
  ModelConfig config;
  bool tied = false;  // logits use the embedding (GGUF: by the absence of output.weight)
};

// Both throw Error(kInvalidModel) for missing, contradictory and impossible values and
// Error(kUnsupported) for what the engine does not compute, naming file and field.
StatedConfig read_hf_config(const std::string& folder);
StatedConfig read_gguf_config(const GgufContent& content, const std::string& where);

// Bounds of what a configuration may ask for: far over any model, low enough that no product of two
// overflows.
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxWidth = 1 << 20;
inline constexpr int64_t kMaxHeads = 4096;
inline constexpr int64_t kMaxVocab = 1 << 24;
inline constexpr int64_t kMaxPosition = 1 << 28;

// Checks what no single field shows. Throws Error(kInvalidModel).
void check_config(const ModelConfig& config, const std::string& where);

// The pattern that a list of layers with a window makes. Throws Error(kUnsupported) for one that
// has no name.
WindowPattern window_pattern(const std::vector<bool>& windowed, const std::string& where);

}  // namespace smore
