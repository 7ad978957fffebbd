#include "core/error.h"

namespace smore {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidFile:
      return "invalid_file";
    case ErrorCode::kInvalidModel:
      return "invalid_model";
    case ErrorCode::kInvalidAdapter:
      return "invalid_adapter";
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kOutOfMemory:
      return "out_of_memory";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kDevice:
      return "device";
  }
  return "unknown";
}

}  // namespace smore
