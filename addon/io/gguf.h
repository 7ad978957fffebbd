#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "io/mapped_file.h"

namespace smore {

// An array of a GGUF file, left in place: a vocabulary is walked only by those who want it.
struct GgufArray {
  uint32_t item_type = 0;  // GGUF's number of the type
  uint64_t count = 0;
  std::span<const uint8_t> bytes;  // the items, already checked to be complete
  std::string type_name() const;   // "[string, 49152 items]", for messages and listings
};

// Integers of every width come as int64_t (64-bit unsigned ones over its range are refused).
using GgufValue = std::variant<int64_t, double, bool, std::string, GgufArray>;

struct GgufEntry {
  std::string key;
  GgufValue value;
};

struct GgufContent {
  uint32_t version = 0;
  std::vector<GgufEntry> metadata;
  std::vector<TensorView> tensors;  // in the order of the file; shapes are {rows, columns}

  const GgufValue* find(std::string_view key) const;  // null when absent
};

// Items of an array of integers, or of strings; nothing when the items are of another kind.
std::optional<std::vector<int64_t>> gguf_integers(const GgufArray& array);
std::optional<std::vector<std::string_view>> gguf_strings(const GgufArray& array);

// Reads metadata and tensor table of a whole file's bytes (version 2 or 3, little-endian), which
// the views point into. Throws Error(kInvalidFile) for truncated, overlapping, misaligned or
// repeated parts, and Error(kUnsupported) naming tensor and type for types that the engine does not
// read. `where` starts every message.
GgufContent parse_gguf(std::span<const uint8_t> bytes, const std::string& where);

struct GgufFile {
  std::shared_ptr<const MappedFile> file;  // keeps views and arrays alive
  GgufContent content;
};

GgufFile open_gguf(const std::string& path);

}  // namespace smore
