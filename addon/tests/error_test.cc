#include "core/error.h"

#include <doctest/doctest.h>

#include "residual/config.h"
#include "tests/refusal.h"

namespace smore {

TEST_CASE("control characters in messages are escaped, other text is left as it is") {
  using namespace std::string_literals;
  CHECK(escape_controls("a\0b\x1b[31m\n\x7f"s) == R"(a\u0000b\u001b[31m\u000a\u007f)");
  CHECK(escape_controls("\xc2\x9b é ¢ 😀 \\") == R"(\u009b é ¢ 😀 \)");
  CHECK(escape_controls("\xc2") == "\xc2");
  CHECK(escape_controls(escape_controls("\t")) == R"(\u0009)");
  CHECK(Error(ErrorCode::kIo, "a\0b"s).what() == R"(a\u0000b)"s);
}

TEST_CASE("what a file says is cited in full, control characters and all") {
  check_refused(ErrorCode::kUnsupported, R"(\u0000\u001b[2J)", [] {
    parse_adapter_config(Json::parse(R"({"peft_type": "\u0000\u001b[2J"})", "c.json"), "c.json");
  });
}

}  // namespace smore
