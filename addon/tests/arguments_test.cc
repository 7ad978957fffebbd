#include "bench/arguments.h"

#include <doctest/doctest.h>

#include <climits>
#include <string>
#include <vector>

#include "tests/refusal.h"

namespace smore {
namespace {

int exit_code(std::vector<const char*> arguments, void (*run)(int, char**)) {
  arguments.insert(arguments.begin(), "bench");
  const int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  return run_program("bench FILE", 1, count, const_cast<char**>(arguments.data()), run);
}

}  // namespace

TEST_CASE("whole numbers of a range are taken, and nothing that only begins like one") {
  CHECK(whole_number("N", "1", 1, 9) == 1);
  CHECK(whole_number("N", "9", 1, 9) == 9);
  CHECK(whole_number("N", std::to_string(INT_MIN), INT_MIN, INT_MAX) == INT_MIN);
  for (const char* text :
       {"", " 1", "1 ", "+1", "0x1", "1e0", "1.0", "0", "10", "-1", "4294967297"}) {
    check_refused(ErrorCode::kInvalidArgument,
                  "N must be a whole number from 1 to 9, not \"" + std::string(text) + "\"",
                  [&] { whole_number("N", text, 1, 9); });
  }
}

TEST_CASE("lists are numbers between commas") {
  CHECK(whole_numbers("N", "7", 1, 9) == std::vector<int>{7});
  CHECK(whole_numbers("N", "1,9,1", 1, 9) == std::vector<int>{1, 9, 1});
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "1;2"}) {
    CHECK_THROWS_AS(whole_numbers("N", text, 1, 9), Error);
  }
}

TEST_CASE("a program that measures tells wrong calls from failures by its exit code") {
  const auto nothing = [](int, char**) {};
  CHECK(exit_code({"file"}, nothing) == 0);
  CHECK(exit_code({}, nothing) == 2);
  CHECK(exit_code({"--help"}, nothing) == 2);
  const auto failing = [](int, char**) { throw Error(ErrorCode::kIo, "no such file"); };
  CHECK(exit_code({"file"}, failing) == 1);
  const auto wrong = [](int, char** argv) { whole_number("N", argv[1], 1, 9); };
  CHECK(exit_code({"many"}, wrong) == 2);
}

}  // namespace smore
