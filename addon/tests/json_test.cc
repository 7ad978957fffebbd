#include "io/json.h"

#include <doctest/doctest.h>

#include "tests/refusal.h"

namespace smore {
namespace {

Json parse(std::string_view text) { return Json::parse(text, "x.json"); }

void check_invalid(std::string_view text) {
  check_refused(ErrorCode::kInvalidFile, "x.json: is not valid JSON: ", [text] { parse(text); });
}

}  // namespace

TEST_CASE("JSON values of every kind are read") {
  const Json json = parse(R"( {"a": [1, -2.5e1, true, null, "x\n\u00e9\ud83d\ude00é"], "b": {}} )");
  const Json::Array& list = *json.member("a")->array();
  CHECK(*list[0].integer() == 1);
  CHECK(*list[1].real() == -25.0);
  CHECK(*list[2].boolean() == true);
  CHECK(list[3].is_null());
  CHECK(*list[4].string() == "x\né😀é");
  CHECK(json.member("b")->object()->empty());
  CHECK(json.member("c") == nullptr);
}

TEST_CASE("integers stay exact up to 64 bits and become reals beyond") {
  CHECK(*parse("9223372036854775807").integer() == INT64_MAX);
  CHECK(*parse("-9223372036854775808").integer() == INT64_MIN);
  CHECK(*parse("18446744073709551616").real() == 18446744073709551616.0);
}

TEST_CASE("JSON that is not strict is refused") {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[1,]",
                           "{\"a\":1,}",
                           "{'a':1}",
                           "[1 2]",
                           "01",
                           "1.",
                           ".5",
                           "+1",
                           "1e",
                           "NaN",
                           "Infinity",
                           "tru",
                           "\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\t\"",
                           "{} {}",
                           "// c\n1",
                           "1e999",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf5\x80\x80\x80\"",
                           "\"\xe2\x82\"",
                           "{\"a\" 1}",
                           "{1: 2}"}) {
    CAPTURE(text);
    check_invalid(text);
  }
}

TEST_CASE("a member that occurs twice is refused by name") {
  check_refused(ErrorCode::kInvalidFile, "\"a\" occurs twice",
                [] { parse(R"({"a": 1, "b": 2, "a": 3})"); });
}

TEST_CASE("nesting is limited") {
  CHECK_NOTHROW(parse(std::string(60, '[') + std::string(60, ']')));
  check_invalid(std::string(100, '[') + std::string(100, ']'));
  check_invalid(std::string(1000000, '['));
}

TEST_CASE(
    "the number of values is limited, so that no text takes much more memory than it is long") {
  const auto list = [](int items) {
    std::string text = "[0";
    for (int i = 1; i < items; ++i) text += ",0";
    return text + "]";
  };
  CHECK(parse(list((1 << 20) - 1)).array()->size() == (1 << 20) - 1);
  check_refused(ErrorCode::kInvalidFile, "more than 1048576 values", [&] { parse(list(1 << 20)); });
}

TEST_CASE("what was read is written back") {
  const char* text = R"({"a":[1,-2.5,true,null,"x\u000a\"\\é"],"b":{}})";
  CHECK(parse(text).dump() == text);
  CHECK(parse("[1e3, 1000, -0e-400, 1e30]").dump() == "[1000.0,1000,-0.0,1e+30]");
}

TEST_CASE("fields are read by type and refused by name") {
  const Json json = parse(R"({"n": 3, "x": 0.5, "s": "t", "f": true, "l": [1, 2], "z": null})");
  const JsonFields fields(json, "x.json", ErrorCode::kInvalidModel);
  CHECK(fields.integer("n", 1, 3) == 3);
  CHECK(fields.number("n") == 3.0);
  CHECK(fields.number("x") == 0.5);
  CHECK(fields.text("s") == "t");
  CHECK(fields.boolean_or("f", false));
  CHECK(fields.integers("l", 0, 9) == std::vector<int64_t>{1, 2});
  CHECK(fields.numbers("l") == std::vector<double>{1, 2});
  CHECK_FALSE(fields.has("z"));
  CHECK(fields.is_null("z"));
  CHECK(fields.integer_or("z", 7, 0, 9) == 7);
  const auto refused = [&](const std::string& part, auto act) {
    check_refused(ErrorCode::kInvalidModel, part, act);
  };
  refused("x.json: n: expected an integer from 4 to 9, found 3",
          [&] { fields.integer("n", 4, 9); });
  refused("x.json: s: expected an integer from 0 to 9, found \"t\"",
          [&] { fields.integer("s", 0, 9); });
  refused("x.json: y: is missing", [&] { fields.number("y"); });
  refused("x.json: n: expected a string, found 3", [&] { fields.text("n"); });
  refused("x.json: n: expected true or false, found 3", [&] { fields.boolean_or("n", false); });
  refused("x.json: l: expected integers from 2 to 9, found 1", [&] { fields.integers("l", 2, 9); });
  refused("x.json: s: expected an object, found \"t\"", [&] { fields.fields("s"); });
}

}  // namespace smore
