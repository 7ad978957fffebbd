#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "residual/verify.h"
#include "tests/adapter_backends.h"
#include "tests/temp_model.h"

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

// Changes one value of a tensor in place, so that the metadata stay.
template <class T>
void overwrite(const std::string& path, const std::string& tensor, int index, T value) {
  const SafetensorsFile file = open_safetensors(path);
  const auto& tensors = file.content.tensors;
  const auto found = std::ranges::find(tensors, tensor, &TensorView::name);
  REQUIRE(found != tensors.end());
  const auto at = static_cast<const uint8_t*>(found->data) - file.file->bytes().data();
  std::fstream out(path, std::ios::binary | std::ios::in | std::ios::out);
  out.seekp(at + index * static_cast<std::streamoff>(sizeof(value)));
  out.write(reinterpret_cast<const char*>(&value), sizeof(value));
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

TEST_CASE("a golden with another expert, score or output is told by tensor, token and entry") {
  const TempFolder folder("families/mistral/model");
  const std::string copy = folder.file("golden.safetensors");
  const auto backend = adapter_backends::backend("");
  const auto detail_with = [&](const std::string& tensor, auto value) {
    std::filesystem::copy_file(SMORE_FIXTURES
                               "/smore/01-switch-mlp-prelu-child-L2-shared.safetensors",
                               copy, std::filesystem::copy_options::overwrite_existing);
    overwrite(copy, tensor, 3, value);
    const VerifyResult result = verify_layer(copy, *backend);
    CHECK_FALSE(result.passed);
    return result.detail;
  };
  const auto begins = [](const std::string& text, const char* with) {
    CAPTURE(text);
    CHECK(text.starts_with(with));
  };
  begins(detail_with("expected.topk_indices.0", 99), "expected.topk_indices.0[0], entry 3: got ");
  begins(detail_with("expected.topk_scores.0", 2.f), "expected.topk_scores.0[0], entry 3: got ");
  begins(detail_with("expected.topk_scores.1", NAN), "expected.topk_scores.1[1], entry 1: got ");
  begins(detail_with("expected.y", 1e6f), "expected.y[0, ");
}

}  // namespace smore
