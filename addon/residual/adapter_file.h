#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "io/json.h"
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

  const std::string& path() const { return file_.path(); }
  uint64_t bytes() const { return static_cast<uint64_t>(opened_.bytes); }

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

// Bytes of a tensor that validation holds at once; a multiple of every value's size.
inline constexpr size_t kReadAtOnce = size_t{1} << 20;

// An adapter as it lies on disk: configuration and places of its tensors. The file may change at
// any time, so it is opened once, never mapped, and all that is read of it goes through `reader`.
struct AdapterFile {
  std::string where;         // of the configuration, for messages
  std::string tensors_path;  // of the tensors, for messages
  Json config;
  std::vector<FileTensor> tensors;
  bool whole = true;  // holds every linear that target_modules names
  std::shared_ptr<const FileReader> reader;
};

// A folder in PEFT layout: adapter_config.json and adapter_model.safetensors. Throws
// Error(kInvalidAdapter, kInvalidFile, kIo).
AdapterFile open_adapter_folder(const std::string& folder);

// A single-layer golden file: its metadata holds the configuration, its tensors under "base_model."
// are the adapter's.
AdapterFile open_adapter_golden(const std::string& path);

}  // namespace smore
