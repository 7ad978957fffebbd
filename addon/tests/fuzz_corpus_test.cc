#include <doctest/doctest.h>

#include <filesystem>

#include "fuzz/targets.h"

namespace smore {
namespace {

// Runs `target` on every file of a corpus, whole and cut in half: under the sanitizers a read out
// of bounds ends the test. The bytes are copied to the heap, where the bounds are exact.
template <class Target>
void replay(const std::string& corpus, int least, Target target) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(SMORE_FIXTURES "/fuzz/" + corpus)) {
    CAPTURE(entry.path().string());
    const std::string text = read_text_file(entry.path().string());
    const std::vector<uint8_t> bytes(text.begin(), text.end());
    CHECK_NOTHROW(target(std::span<const uint8_t>(bytes)));
    const std::vector<uint8_t> half(bytes.begin(), bytes.begin() + bytes.size() / 2);
    CHECK_NOTHROW(target(std::span<const uint8_t>(half)));
    ++files;
  }
  CHECK(files >= least);
}

}  // namespace

TEST_CASE("the readers survive the fuzzers' corpus") {
  replay("json", 8, fuzz_json);
  replay("safetensors", 14, fuzz_safetensors);
  replay("gguf", 19, fuzz_gguf);
}

TEST_CASE("the readers survive every single damaged byte of a good file") {
  const auto damage = [](const std::string& name, auto target) {
    const std::string text = read_text_file(SMORE_FIXTURES "/fuzz/" + name);
    std::vector<uint8_t> bytes(text.begin(), text.end());
    for (size_t i = 0; i < bytes.size(); ++i) {
      const uint8_t good = bytes[i];
      for (const int value : {0, 1, 0x7f, 0x80, 0xff, good + 1, good - 1, good ^ 0x20}) {
        bytes[i] = static_cast<uint8_t>(value);
        CHECK_NOTHROW(target(std::span<const uint8_t>(bytes)));
      }
      bytes[i] = good;
    }
  };
  damage("json/good", fuzz_json);
  damage("safetensors/good", fuzz_safetensors);
  damage("gguf/llama", fuzz_gguf);
}

}  // namespace smore
