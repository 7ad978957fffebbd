#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/error.h"

namespace smore {

// A JSON value (RFC 8259). Objects keep the order of the file and have no member twice.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  using Value = std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object>;

  Json() : value_(nullptr) {}
  template <class T>
  explicit Json(T value) : value_(std::move(value)) {}

  // Parses a whole text strictly: UTF-8, no comments, no trailing commas, at most 64 levels deep,
  // at most 1,048,576 values: they take many times the memory of a text such as "[],[],[],...".
  // Numbers without fraction and exponent that fit are int64_t. Throws Error(kInvalidFile) whose
  // message starts with `where` and has the byte offset of the fault.
  static Json parse(std::string_view text, const std::string& where);

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const double* real() const { return std::get_if<double>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const Array* array() const { return std::get_if<Array>(&value_); }
  const Object* object() const { return std::get_if<Object>(&value_); }
  const Json* member(std::string_view name) const;  // null unless an object that has it

  // Compact text of the value. Strings are written as UTF-8; infinite numbers as null.
  std::string dump() const;

 private:
  Value value_;
};

// The fields of an object by name and type. Every fault throws Error(code) naming the file
// (`where`), the field, what was found and what would be right. A field that is null counts as
// absent.
class JsonFields {
 public:
  // Keeps references: `object` must outlive this. Throws when it is not an object.
  JsonFields(const Json& object, std::string where, ErrorCode code);

  bool has(std::string_view name) const;
  const Json* find(std::string_view name) const;  // null when absent
  bool is_null(std::string_view name) const;      // written out as null

  const Json::Object& members() const { return *object_.object(); }

  // The field must be there.
  int64_t integer(std::string_view name, int64_t least, int64_t most) const;
  double number(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  std::vector<int64_t> integers(std::string_view name, int64_t least, int64_t most) const;
  std::vector<double> numbers(std::string_view name) const;
  JsonFields fields(std::string_view name) const;

  // The field may be absent; then `otherwise` holds.
  int64_t integer_or(std::string_view name, int64_t otherwise, int64_t least, int64_t most) const;
  double number_or(std::string_view name, double otherwise) const;
  bool boolean_or(std::string_view name, bool otherwise) const;
  std::string text_or(std::string_view name, std::string otherwise) const;

  // Throws Error(code): "<where>: <name>: <fault>".
  [[noreturn]] void refuse(std::string_view name, const std::string& fault) const;
  const std::string& where() const { return where_; }

 private:
  const Json& need(std::string_view name, const char* kind) const;

  const Json& object_;
  std::string where_;
  ErrorCode code_;
};

// The bytes of a small text file, which somebody may overwrite meanwhile: then perhaps only a part
// of it. Throws Error(kIo, kInvalidFile): missing, empty, or over 16 MiB.
std::string read_text_file(const std::string& path);

}  // namespace smore
