#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace smore {

// What went wrong, in the terms that the TypeScript side maps to an exit code or an HTTP status.
enum class ErrorCode {
  kInvalidFile,      // bytes that do not parse: truncated, bad magic, overlapping tensors
  kInvalidModel,     // parses, but contradicts itself or is incomplete: shapes, config, missing or
                     // unread tensors
  kInvalidAdapter,   // an adapter that does not fit its config or this base
  kInvalidArgument,  // a value from the caller outside its range
  kUnsupported,      // well formed, but not something this build serves
  kOutOfMemory,      // budget or machine too small; the message has the numbers
  kIo,               // the operating system refused; the message has path and errno text
  kDevice,           // a GPU failed or is not there; the message has what it answered
};

// Thrown by core code for every fault of input. Messages name the file, tensor or field, what was
// found and what would be right; control characters in what they cite come out as escapes, so that
// a file's text can neither cut a message short nor steer a terminal. Broken invariants of our own
// use SMORE_CHECK instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string_view message);
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// The text with control characters (C0, DEL and C1, in UTF-8) as "\u001b".
std::string escape_controls(std::string_view text);

// Stable name of a code, as it crosses the border ("invalid_file", "out_of_memory", ...).
const char* error_code_name(ErrorCode code);

}  // namespace smore
