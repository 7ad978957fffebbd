#pragma once

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "core/error.h"

// Arguments of the programs that measure. What is wrong with one is said in a line: a figure of
// something else than was asked for is worse than none.

namespace smore {

// Throws Error(kInvalidArgument) naming the argument unless all of `text` is a number of the range.
inline int whole_number(const char* name, const std::string& text, int least, int most) {
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, fault] = std::from_chars(text.data(), end, value);
  if (fault == std::errc() && stop == end && value >= least && value <= most) return value;
  throw Error(ErrorCode::kInvalidArgument, std::string(name) + " must be a whole number from " +
                                               std::to_string(least) + " to " +
                                               std::to_string(most) + ", not \"" + text + "\"");
}

// "1,4,16"
inline std::vector<int> whole_numbers(const char* name, const std::string& text, int least,
                                      int most) {
  std::vector<int> values;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    values.push_back(whole_number(name, text.substr(at, comma - at), least, most));
    at = comma + 1;
  }
  return values;
}

// Runs a program's work: 0 = done, 1 = failed, 2 = called in a wrong way.
template <class Run>
int run_program(const char* usage, int least_arguments, int argc, char** argv, Run&& run) {
  if (argc <= least_arguments || (argc > 1 && argv[1][0] == '-')) {
    std::fprintf(stderr, "usage: %s\n", usage);
    return 2;
  }
  try {
    run(argc, argv);
    return 0;
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.code() == ErrorCode::kInvalidArgument ? 2 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace smore
