#include "bench/scratch_folder.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

namespace smore {
namespace {

// Fills a folder, tells its path and, where it is to wait, waits for a signal. A process of its
// own: such a folder takes signals from the whole process.
void fill_a_folder(int told, bool waits) {
  const ScratchFolder folder("smore-test");
  std::ofstream(folder.path() + "/file") << "content";
  const size_t size = folder.path().size();
  if (write(told, folder.path().data(), size) != static_cast<ssize_t>(size)) std::_Exit(99);
  while (waits) pause();
}

struct Ended {
  bool was_there = false;
  bool is_there = true;
  int code = -1;
};

// `signal`: 0 = the process ends by itself.
Ended after_a_process(int signal) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = fork();
  if (child == 0) {
    fill_a_folder(ends[1], signal != 0);
    std::_Exit(0);
  }
  std::array<char, 64> text{};
  const ssize_t size = read(ends[0], text.data(), text.size());
  REQUIRE(size > 0);
  const std::string path(text.data(), static_cast<size_t>(size));
  Ended ended{.was_there = signal == 0 || std::filesystem::exists(path + "/file")};
  if (signal != 0) kill(child, signal);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  close(ends[0]);
  close(ends[1]);
  ended.is_there = std::filesystem::exists(path);
  if (WIFEXITED(status)) ended.code = WEXITSTATUS(status);
  return ended;
}

}  // namespace

TEST_CASE("a program's scratch folder is gone when it ends, by a signal too") {
  for (const int signal : {0, SIGINT, SIGTERM, SIGHUP}) {
    CAPTURE(signal);
    const Ended ended = after_a_process(signal);
    CHECK(ended.was_there);
    CHECK_FALSE(ended.is_there);
    CHECK(ended.code == (signal == 0 ? 0 : 128 + signal));
  }
}

}  // namespace smore
