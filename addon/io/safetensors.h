#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "io/mapped_file.h"

namespace smore {

// What the header of a safetensors file tells: its tensors in the order of their offsets.
struct SafetensorsIndex {
  std::vector<FileTensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// The bytes that tell how long the header is.
inline constexpr size_t kSafetensorsStart = 8;

// Up to where the header goes, given the file's size and its first kSafetensorsStart bytes (fewer
// only when the file is that short). Throws Error(kInvalidFile) when there cannot be a header.
// `where` starts every message.
uint64_t safetensors_header_end(std::span<const uint8_t> start, uint64_t file_bytes,
                                const std::string& where);

// Reads a header; `head` is the file up to safetensors_header_end. Throws Error(kInvalidFile)
// unless every tensor has a shape that fits its bytes and the tensors fill the file without gap or
// overlap, and Error(kUnsupported) for types that the engine does not compute with.
SafetensorsIndex parse_safetensors_index(std::span<const uint8_t> head, uint64_t file_bytes,
                                         const std::string& where);

// Reads `bytes` bytes from `offset` on; throws where it cannot read them all.
using ReadBytes = std::function<void(uint64_t offset, size_t bytes, void* target)>;

// Both of the above on a file that is not in memory. Throws as they do, and what `read` throws.
SafetensorsIndex read_safetensors_index(const ReadBytes& read, uint64_t file_bytes,
                                        const std::string& where);

// What a safetensors file holds: views into its bytes, in the order of their offsets.
struct SafetensorsContent {
  std::vector<TensorView> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads the header of a whole file's bytes, which the views point into. Throws as the parts above.
SafetensorsContent parse_safetensors(std::span<const uint8_t> bytes, const std::string& where);

struct SafetensorsFile {
  std::shared_ptr<const MappedFile> file;  // keeps the views alive
  SafetensorsContent content;
};

// The header is read, not mapped: who looks at that alone survives a file that shrinks meanwhile.
SafetensorsFile open_safetensors(const std::string& path);

}  // namespace smore
