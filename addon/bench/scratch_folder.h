#pragma once

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>

#include "core/error.h"

namespace smore {

// A folder below /tmp until the program ends, by whatever signal a user ends programs with. To be
// made before there are threads: they inherit that the signals wait for the one that removes the
// folder.
class ScratchFolder {
 public:
  explicit ScratchFolder(const std::string& name) : path_("/tmp/" + name + "-XXXXXX") {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    if (::mkdtemp(path_.data()) == nullptr) {
      throw Error(ErrorCode::kIo, path_ + ": " + std::generic_category().message(errno));
    }
    std::thread([path = path_, signals] {
      int signal = 0;
      sigwait(&signals, &signal);
      remove(path);
      std::_Exit(128 + signal);
    }).detach();
  }
  ~ScratchFolder() { remove(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }

 private:
  static void remove(const std::string& path) {
    std::error_code ignored;  // there is nobody left to tell
    std::filesystem::remove_all(path, ignored);
  }

  std::string path_;
};

}  // namespace smore
