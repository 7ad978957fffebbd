#pragma once

#include <string>

namespace smore {

// What a model file, model folder, adapter folder or single safetensors file holds, as JSON:
//   kind      "model", "adapter" or "tensors"
//   format    "gguf" or "safetensors"
//   problem   why this server cannot serve the model, or the adapter over any base; null when it
//             can (models and adapters only)
//   config    ModelConfig in words, null with a problem; an adapter's adapter_config.json as it is
//   metadata  the file's own entries; long arrays as "[string, 49152 items]"
//   tensors   [{name, dtype, shape, bytes}, ...] in file order
//   totals    {tensors, parameters, bytes, byDtype: {dtype: bytes}}
// Throws Error for bytes that do not parse; a model that parses but cannot be served is described.
std::string inspect_json(const std::string& path);

}  // namespace smore
