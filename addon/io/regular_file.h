#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace smore {

// A file opened for reading that is one: a pipe, socket or device could keep a reader waiting
// forever. Owns the descriptor.
class RegularFile {
 public:
  // Throws Error(kIo) naming the path and, of a link, where it leads.
  explicit RegularFile(const std::string& path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  // For a file that stays open for as long as the process wants it: throws Error(kIo) where three
  // quarters of the descriptors that the process may have are taken, as connections need the rest.
  void require_spare_descriptors() const;
  // As it is now. Throws Error(kIo).
  struct stat status() const;
  // Reads from `offset` on; fewer than `bytes` only where the file ends. Unlike a mapping it
  // survives a file that is overwritten or shrinks meanwhile. Throws Error(kIo). Any thread.
  size_t read(uint64_t offset, size_t bytes, void* target) const;

 private:
  std::string path_;
  int descriptor_;
};

// Throws Error(kIo): "<path>: cannot be <what>: <errno in words>".
[[noreturn]] void refuse_file(const std::string& path, const char* what);

// False when a folder has no entry of that name. What is there but cannot be opened, such as a link
// that leads nowhere, counts as there: whoever opens it says what is wrong.
bool has_entry(const std::string& path);

}  // namespace smore
