#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "io/json.h"
#include "io/mapped_file.h"
#include "io/regular_file.h"

namespace smore {

// Reads byte ranges of a file long after it was opened and validated. Unlike a mapping it survives
// a file that is overwritten or shrinks meanwhile: the read fails, and nothing else does.
class FileReader {
 public:
  explicit FileReader(const std::string& path);  // Throws Error(kIo)

  // Throws Error(kIo) naming the file when the range cannot be read in full, or the file is not
  // what it was when it was opened. Any thread.
  void read(uint64_t offset, size_t bytes, void* target) const;

 private:
  struct Version {
    int64_t seconds, nanoseconds;  // of the last change
    int64_t bytes;
    bool operator==(const Version&) const = default;
  };
  Version version() const;

  RegularFile file_;
  Version opened_;
};

// An adapter as it lies on disk: configuration and views of its tensors. Lives only while the
// adapter is validated; `reader` reads the same file afterwards.
struct AdapterFile {
  std::string where;         // of the configuration, for messages
  std::string tensors_path;  // of the tensors, for messages
  Json config;
  std::vector<TensorView> tensors;
  bool whole = true;                          // holds every linear that target_modules names
  std::shared_ptr<const MappedFile> mapping;  // keeps the views alive
  std::shared_ptr<const FileReader> reader;

  // Of a tensor's first byte in the file.
  uint64_t offset(const TensorView& tensor) const {
    return static_cast<uint64_t>(static_cast<const uint8_t*>(tensor.data) -
                                 mapping->bytes().data());
  }
};

// A folder in PEFT layout: adapter_config.json and adapter_model.safetensors. Throws
// Error(kInvalidAdapter, kInvalidFile, kIo).
AdapterFile open_adapter_folder(const std::string& folder);

// A single-layer golden file: its metadata holds the configuration, its tensors under "base_model."
// are the adapter's.
AdapterFile open_adapter_golden(const std::string& path);

}  // namespace smore
