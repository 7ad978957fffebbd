#pragma once

#include <doctest/doctest.h>

#include <string>

#include "core/error.h"

namespace smore {

// Runs `act`, which must throw Error(code) with `part` in its message.
template <class Act>
void check_refused(ErrorCode code, const std::string& part, Act&& act) {
  CAPTURE(part);
  try {
    act();
    FAIL_CHECK("was accepted");
  } catch (const Error& error) {
    CHECK(error_code_name(error.code()) == std::string(error_code_name(code)));
    const std::string message = error.what();
    CAPTURE(message);
    CHECK(message.find(part) != message.npos);
  }
}

}  // namespace smore
