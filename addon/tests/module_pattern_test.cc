#include "residual/module_pattern.h"

#include <doctest/doctest.h>

#include <chrono>
#include <regex>
#include <string>
#include <vector>

namespace smore {
namespace {

void check_refused(const std::string& pattern, const std::string& part) {
  CAPTURE(pattern.substr(0, 80));
  try {
    const ModulePattern accepted(pattern);
    FAIL_CHECK("was accepted");
  } catch (const PatternFault& fault) {
    const std::string message = fault.what();
    CAPTURE(message);
    CHECK(message.find(part) != message.npos);
  }
}

bool matches(const char* pattern, const char* path) { return ModulePattern(pattern).matches(path); }
bool matches_end(const char* pattern, const char* path) {
  return ModulePattern(pattern).matches_end(path);
}

}  // namespace

TEST_CASE("patterns as PEFT's users write them choose the modules they mean") {
  const char* up = "model.layers.11.mlp.up_proj";
  CHECK(matches(".*", up));
  CHECK(matches(R"(.*\.(q|k|v|up)_proj)", up));
  CHECK(matches(R"(model\.layers\.(?:1[0-5]|[2-9])\.mlp\..*_proj)", up));
  CHECK(matches(R"(^model\.layers\.\d{1,2}\.mlp\.[\w]+$)", up));
  CHECK(matches(R"(.+?up_pro\w)", up));
  CHECK_FALSE(matches("up_proj", up));
  CHECK_FALSE(matches(R"(model\.layers\.[^1]+\.mlp\.up_proj)", up));
  CHECK_FALSE(matches(R"(model\.layers\.\d\.mlp\.up_proj)", up));
  CHECK_FALSE(matches("", up));
}

TEST_CASE("the end of a path begins at its beginning or after a dot") {
  CHECK(matches_end("up_proj", "model.layers.0.mlp.up_proj"));
  CHECK(matches_end(R"(mlp\.up_proj|q_proj)", "model.layers.0.mlp.up_proj"));
  CHECK(matches_end("model.*", "model.layers"));
  CHECK_FALSE(matches_end("proj", "model.layers.0.mlp.up_proj"));
  CHECK_FALSE(matches_end("mlp", "model.layers.0.mlp.up_proj"));
  CHECK_FALSE(matches_end("^up_proj", "mlp.up_proj"));
  CHECK(matches_end("^mlp.up_proj", "mlp.up_proj"));
}

TEST_CASE("patterns match what std::regex says they match") {
  const std::vector<std::string> patterns = {
      "a",        "ab*",      "(ab)*",  "(a|b)+",     "a{2}",   "a{2,}",        "(ab){1,2}",
      "a{,2}b",   "[ab]c?",   "[^ab]+", "[a-c]{0,3}", "(a*)*b", "(a|ab)(c|bc)", "a?a?aa",
      "(a+)+x",   "((.*)*)*", "a|",     "(|a)b",      "[]a]+",  "[a-]*",        "a*?b",
      "(?:a|b)c", "\\.\\w",   "\\d+",   "[\\d.]*",    "^a$",    "a(b|$)",       "(^|b)a",
      ".{2,4}"};
  const std::vector<std::string> texts = {"",    "a",  "b",  "ab",  "aab",  "abab", "aaaa",
                                          "abc", "ac", "bc", "c",   "aabb", "ba",   "cab",
                                          "]a",  "a-", ".a", "12.", "7",    "aaax", "ababab"};
  for (const std::string& pattern : patterns) {
    // The same in the dialect of std::regex.
    std::string peer = pattern;
    if (peer == "a{,2}b") peer = "a{0,2}b";
    if (peer == "[]a]+") peer = "[\\]a]+";
    const std::regex expected(peer);
    const ModulePattern own(pattern);
    for (const std::string& text : texts) {
      CAPTURE(pattern);
      CAPTURE(text);
      CHECK(own.matches(text) == std::regex_match(text, expected));
    }
  }
}

TEST_CASE("patterns that would hang or crash a backtracking matcher are answered at once") {
  const auto start = std::chrono::steady_clock::now();
  const std::string path(2000, 'a');
  CHECK_FALSE(ModulePattern("(.+)+x").matches(path));
  CHECK_FALSE(ModulePattern("((.*)*)*Z").matches(path));
  CHECK_FALSE(ModulePattern("(a|aa|a?)+b").matches_end(path));
  std::string optional;
  for (int i = 0; i < 300; ++i) optional += "a?";
  CHECK(ModulePattern(optional + std::string(300, 'a')).matches(std::string(400, 'a')));
  check_refused(std::string(100000, '(') + "a" + std::string(100000, ')'), "200001 bytes long");
  check_refused(std::string(33, '(') + "a" + std::string(33, ')'), "more than 32 deep");
  check_refused("((((a{100}){100}){100}){100}){100}", "more than 4096 states");
  check_refused("a{99999999999999999999}", "count is above 4096");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST_CASE("what is no pattern, or more than a regular one, is refused by its fault") {
  check_refused("(a", "'(' without its ')'");
  check_refused("a)", "')' without its '('");
  check_refused("[a", "'[' without its ']'");
  check_refused("[b-a]", "a range in [ ] that is none");
  check_refused("[\\d-z]", "a range in [ ] that is none");
  check_refused("*a", "'*' follows nothing");
  check_refused("a|+", "'+' follows nothing");
  check_refused("a**", "repeats a repetition");
  check_refused("a{1,2}{3}", "repeats a repetition");
  check_refused("a{x}", "does not begin a count");
  check_refused("a{3,2}", "count ends below its beginning");
  check_refused("a\\", "ends too early");
  check_refused("(a)\\1", "uses \\1");
  check_refused("\\bproj", "uses \\b");
  check_refused("(?!lm_head).*", "only ( ) and (?: )");
  check_refused("(?i)a", "only ( ) and (?: )");
}

}  // namespace smore
