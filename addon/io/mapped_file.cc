#include "io/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "io/regular_file.h"

namespace smore {

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  const RegularFile file(path);
  const auto size = static_cast<size_t>(file.status().st_size);
  if (size == 0) throw Error(ErrorCode::kInvalidFile, path + ": is empty");
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data == MAP_FAILED) refuse_file(path, "mapped");
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const uint8_t*>(data), size));
}

MappedFile::~MappedFile() { ::munmap(const_cast<uint8_t*>(data_), size_); }

bool MappedFile::contains(const void* address) const {
  const auto* byte = static_cast<const uint8_t*>(address);
  return byte >= data_ && byte < data_ + size_;
}

void MappedFile::release(const void* begin, size_t size) const {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<uintptr_t>(begin);
  const uintptr_t first = (address + page - 1) / page * page;
  const uintptr_t last = (address + size) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace smore
