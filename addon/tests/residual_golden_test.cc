#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "residual/verify.h"
#include "tests/adapter_backends.h"

namespace smore {
namespace {

std::vector<std::string> golden_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(SMORE_FIXTURES "/smore")) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

TEST_CASE(
    "every kernel path and device computes every single-layer golden, in batches of every shape") {
  const std::vector<std::string> files = golden_files();
  CHECK(files.size() == 60);
  for (const std::string& path : adapter_backends::paths()) {
    const auto backend = adapter_backends::backend(path);
    for (const std::string& file : files) {
      const VerifyResult result = verify_layer(file, *backend);
      CAPTURE(path);
      CAPTURE(result.file);
      CAPTURE(result.detail);
      CHECK(result.passed);
    }
  }
}

}  // namespace smore
