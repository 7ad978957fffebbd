#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace smore {

// A file mapped for reading; bytes come from disk when they are first touched. Shrinking the file
// while it is mapped ends the process, as with any mapped file.
class MappedFile {
 public:
  // Throws Error(kIo) naming the path; a folder or an empty file is refused too.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const uint8_t> bytes() const { return {data_, size_}; }
  bool contains(const void* address) const;

  // Gives back the whole pages inside [begin, begin + size). They may be read again later: then
  // they come from the file anew.
  void release(const void* begin, size_t size) const;

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const uint8_t* data_;
  size_t size_;
};

}  // namespace smore
