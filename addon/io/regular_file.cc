#include "io/regular_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/error.h"

namespace smore {
namespace {

namespace fs = std::filesystem;

// Without O_NONBLOCK a pipe would not even open before somebody writes to it.
int open_for_reading(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor >= 0) return descriptor;
  const int reason = errno;
  std::error_code no_link;
  const fs::path target = fs::read_symlink(path, no_link);
  errno = reason;
  refuse_file(no_link ? path : path + ": is a link to " + target.string(), "opened");
}

}  // namespace

void refuse_file(const std::string& path, const char* what) {
  throw Error(ErrorCode::kIo, path + ": cannot be " + what + ": " + std::strerror(errno));
}

RegularFile::RegularFile(const std::string& path)
    : path_(path), descriptor_(open_for_reading(path)) {
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) return;
  ::close(descriptor_);
  throw Error(ErrorCode::kIo, path + ": is not a regular file");
}

RegularFile::~RegularFile() { ::close(descriptor_); }

void RegularFile::require_spare_descriptors() const {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  const rlim_t most = limit.rlim_cur - limit.rlim_cur / 4;
  // The system gives out the least that is free.
  if (static_cast<rlim_t>(descriptor_) < most) return;
  throw Error(ErrorCode::kIo, path_ + ": " + std::to_string(most) + " of the " +
                                  std::to_string(limit.rlim_cur) +
                                  " files that the process may have open are in use, and "
                                  "connections need the rest; raise the limit (ulimit -n)");
}

struct stat RegularFile::status() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) refuse_file(path_, "examined");
  return status;
}

size_t RegularFile::read(uint64_t offset, size_t bytes, void* target) const {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got = ::pread(descriptor_, static_cast<char*>(target) + done, bytes - done,
                                static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse_file(path_, "read");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

bool has_entry(const std::string& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() != fs::file_type::not_found;
}

}  // namespace smore
