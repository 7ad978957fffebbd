#include "io/regular_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "io/mapped_file.h"
#include "model/source.h"
#include "residual/adapter_file.h"
#include "tests/refusal.h"
#include "tests/temp_model.h"

namespace smore {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdapter = "tiny-llama-smore/tied/adapters/lora";
constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapter_model.safetensors";

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST_CASE("a pipe in place of a file is refused at once rather than waited for") {
  const TempFolder folder(kAdapter);
  fs::remove(folder.file(kTensors));
  REQUIRE(::mkfifo(folder.file(kTensors).c_str(), 0600) == 0);
  const std::string fault = std::string(kTensors) + ": is not a regular file";
  check_refused(ErrorCode::kIo, fault, [&] { MappedFile::open(folder.file(kTensors)); });
  check_refused(ErrorCode::kIo, fault, [&] { FileReader reader(folder.file(kTensors)); });
  check_refused(ErrorCode::kIo, fault, [&] { open_adapter_folder(folder.path()); });
}

TEST_CASE("a link that leads nowhere is named, not called missing") {
  const TempFolder folder(kAdapter);
  fs::remove(folder.file(kTensors));
  fs::create_symlink("gone.safetensors", folder.file(kTensors));
  check_refused(ErrorCode::kIo,
                std::string(kTensors) +
                    ": is a link to gone.safetensors: cannot be opened: No such file or directory",
                [&] { open_adapter_folder(folder.path()); });
  fs::remove(folder.file(kTensors));
  fs::create_symlink(kTensors, folder.file(kTensors));
  check_refused(ErrorCode::kIo, "Too many levels of symbolic links",
                [&] { open_adapter_folder(folder.path()); });
}

TEST_CASE("a model behind a circle of links is refused with that reason") {
  const TempFolder folder("families/qwen3/model");
  fs::create_symlink("circle", folder.file("circle"));
  check_refused(ErrorCode::kIo, "Too many levels of symbolic links",
                [&] { open_model(folder.file("circle")); });
  fs::remove(folder.file("model.safetensors"));
  fs::create_symlink("model.safetensors", folder.file("model.safetensors"));
  check_refused(ErrorCode::kIo, "Too many levels of symbolic links",
                [&] { open_model(folder.path()); });
}

TEST_CASE("files that are overwritten while they are read are refused, and nothing else happens") {
  const TempFolder folder(kAdapter);
  const std::string config = read_text_file(folder.file(kConfig));
  const std::string tensors = read_bytes(folder.file(kTensors));
  std::atomic<bool> stop{false};
  // Each write cuts the file to nothing first.
  std::thread writer([&] {
    while (!stop) {
      folder.write(kConfig, config);
      folder.write(kTensors, tensors);
    }
  });
  int whole = 0;
  for (int round = 0; round < 20'000; ++round) {
    try {
      whole += read_text_file(folder.file(kConfig)) == config;
      open_safetensors(folder.file(kTensors));
    } catch (const Error&) {
    }
  }
  stop = true;
  writer.join();
  CHECK(whole > 0);
  CHECK_NOTHROW(open_adapter_folder(folder.path()));
}

}  // namespace smore
