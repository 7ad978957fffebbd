#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "core/check.h"
#include "core/error.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "model/source_config.h"

// What the fuzzers run on arbitrary bytes, and the tests on the corpus: a reader either refuses
// them with an Error or gives views whose every byte can be read.
namespace smore {

inline void read_every_byte(const std::vector<TensorView>& tensors) {
  for (const TensorView& tensor : tensors) {
    first_non_finite(tensor.dtype, tensor.data, tensor.elements());
  }
}

inline void fuzz_json(std::span<const uint8_t> bytes) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const std::string once = Json::parse(text, "fuzz").dump();
    SMORE_CHECK(Json::parse(once, "fuzz").dump() == once, "JSON changes when it is read again");
  } catch (const Error&) {
  }
}

inline void fuzz_safetensors(std::span<const uint8_t> bytes) {
  try {
    read_every_byte(parse_safetensors(bytes, "fuzz").tensors);
  } catch (const Error&) {
  }
}

inline void fuzz_gguf(std::span<const uint8_t> bytes) {
  try {
    const GgufContent content = parse_gguf(bytes, "fuzz");
    read_every_byte(content.tensors);
    for (const GgufEntry& entry : content.metadata) {
      const GgufArray* array = std::get_if<GgufArray>(&entry.value);
      if (array == nullptr) continue;
      gguf_integers(*array);
      gguf_strings(*array);
    }
    read_gguf_config(content, "fuzz");
  } catch (const Error&) {
  }
}

}  // namespace smore
