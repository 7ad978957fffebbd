#pragma once

#include <stdexcept>
#include <string>

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
// found and what would be right. Broken invariants of our own use SMORE_CHECK instead.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

// Stable name of a code, as it crosses the border ("invalid_file", "out_of_memory", ...).
const char* error_code_name(ErrorCode code);

}  // namespace smore
