#include "core/error.h"

namespace smore {
namespace {

void append_escape(std::string& out, unsigned char code) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += "\\u00";
  out += kHex[code >> 4];
  out += kHex[code & 15];
}

}  // namespace

Error::Error(ErrorCode code, std::string_view message)
    : std::runtime_error(escape_controls(message)), code_(code) {}

std::string escape_controls(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto next = static_cast<unsigned char>(i + 1 < text.size() ? text[i + 1] : 0);
    if (byte < 0x20 || byte == 0x7f) {
      append_escape(out, byte);
    } else if (byte == 0xc2 && next >= 0x80 && next < 0xa0) {
      append_escape(out, next);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

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
