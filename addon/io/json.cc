#include "io/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/regular_file.h"

namespace smore {
namespace {

constexpr int kMaxDepth = 64;
constexpr int kMaxValues = 1 << 20;
constexpr size_t kMaxTextFile = size_t{16} << 20;

class Parser {
 public:
  Parser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Json whole() {
    Json value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail("text after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kInvalidFile,
                where_ + ": is not valid JSON: " + what + " at byte " + std::to_string(at_));
  }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != text_.npos) ++at_;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool take(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json parse_value(int depth) {
    if (depth > kMaxDepth) fail("nested deeper than " + std::to_string(kMaxDepth) + " levels");
    if (++values_ > kMaxValues) {
      fail("more than " + std::to_string(kMaxValues) + " values, which nothing needs,");
    }
    skip_space();
    if (at_ == text_.size()) fail("the text ends where a value should be");
    const char c = peek();
    if (c == '{') return parse_object(depth);
    if (c == '[') return parse_array(depth);
    if (c == '"') return Json(parse_string());
    if (c == '-' || (c >= '0' && c <= '9')) return parse_number();
    if (take("true")) return Json(true);
    if (take("false")) return Json(false);
    if (take("null")) return Json();
    fail("no value starts like this");
  }

  Json parse_object(int depth) {
    Json::Object object;
    ++at_;
    skip_space();
    if (take('}')) return Json(std::move(object));
    do {
      skip_space();
      if (peek() != '"') fail("a member needs a name in quotes");
      std::string name = parse_string();
      skip_space();
      if (!take(':')) fail("a colon is missing");
      object.emplace_back(std::move(name), parse_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take('}')) fail("a comma or } is missing");
    refuse_twins(object);
    return Json(std::move(object));
  }

  void refuse_twins(const Json::Object& object) const {
    std::vector<std::string_view> names;
    names.reserve(object.size());
    for (const auto& [name, value] : object) names.push_back(name);
    std::sort(names.begin(), names.end());
    const auto twin = std::adjacent_find(names.begin(), names.end());
    if (twin != names.end())
      fail("\"" + std::string(*twin) + "\" occurs twice in an object that ends");
  }

  Json parse_array(int depth) {
    Json::Array array;
    ++at_;
    skip_space();
    if (take(']')) return Json(std::move(array));
    do {
      array.push_back(parse_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("a comma or ] is missing");
    return Json(std::move(array));
  }

  Json parse_number() {
    const size_t start = at_;
    take('-');
    if (!take('0')) take_digits();
    const bool whole_number = peek() != '.' && peek() != 'e' && peek() != 'E';
    if (take('.')) take_digits();
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      take_digits();
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    int64_t integer;
    if (whole_number && std::from_chars(first, last, integer).ec == std::errc()) {
      return Json(integer);
    }
    double real;
    if (std::from_chars(first, last, real).ec != std::errc()) fail("a number out of range ends");
    return Json(real);
  }

  void take_digits() {
    const size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    if (at_ == start) fail("a digit is missing");
  }

  std::string parse_string() {
    std::string out;
    ++at_;
    while (at_ < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c < 0x20) fail("a control character inside a string");
      if (c == '\\') {
        ++at_;
        parse_escape(out);
      } else if (c < 0x80) {
        out += text_[at_++];
      } else {
        parse_multibyte(out);
      }
    }
    fail("a string does not end");
  }

  void parse_escape(std::string& out) {
    static constexpr std::string_view kEscapes = "\"\\/bfnrt";
    static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (take('u')) return append_utf8(out, parse_code_point());
    const size_t which = at_ < text_.size() ? kEscapes.find(text_[at_]) : kEscapes.npos;
    if (which == kEscapes.npos) fail("an unknown escape");
    out += kMeanings[which];
    ++at_;
  }

  uint32_t parse_code_point() {
    const uint32_t first = parse_hex4();
    if (first >= 0xdc00 && first < 0xe000) fail("half of a surrogate pair");
    if (first < 0xd800 || first >= 0xe000) return first;
    if (!take("\\u")) fail("half of a surrogate pair");
    const uint32_t second = parse_hex4();
    if (second < 0xdc00 || second >= 0xe000) fail("half of a surrogate pair");
    return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
  }

  uint32_t parse_hex4() {
    if (text_.size() - at_ < 4) fail("a short \\u escape");
    uint32_t code = 0;
    const char* first = text_.data() + at_;
    const auto [end, error] = std::from_chars(first, first + 4, code, 16);
    if (error != std::errc() || end != first + 4) fail("a \\u escape without four hex digits");
    at_ += 4;
    return code;
  }

  static void append_utf8(std::string& out, uint32_t code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
      return;
    }
    const int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static constexpr uint32_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(kLead[extra] | code >> (6 * extra));
    for (int i = extra - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 63));
  }

  // Copies one multi-byte character; overlong forms, surrogates and stray bytes are refused.
  void parse_multibyte(std::string& out) {
    const auto lead = static_cast<unsigned char>(text_[at_]);
    const int extra = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    static constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    uint32_t code = lead & (0x3fu >> extra);
    bool valid = lead >= 0xc2 && lead <= 0xf4 && text_.size() - at_ > static_cast<size_t>(extra);
    for (int i = 1; valid && i <= extra; ++i) {
      const auto byte = static_cast<unsigned char>(text_[at_ + i]);
      valid = (byte & 0xc0) == 0x80;
      code = code << 6 | (byte & 63);
    }
    valid = valid && code >= kLeast[extra] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    if (!valid) fail("bytes that are not UTF-8");
    out.append(text_.substr(at_, extra + 1));
    at_ += extra + 1;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
  int values_ = 0;
};

void dump_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += "\\u00";
      out += kHex[c >> 4];
      out += kHex[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

template <class T>
std::string number_text(T value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

// The shortest text that reads as the same number, and as a real again.
std::string real_text(double value) {
  std::string text = number_text(value);
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

void dump_value(const Json& json, std::string& out) {
  if (const bool* flag = json.boolean()) {
    out += *flag ? "true" : "false";
  } else if (const int64_t* integer = json.integer()) {
    out += number_text(*integer);
  } else if (const double* real = json.real(); real != nullptr && std::isfinite(*real)) {
    out += real_text(*real);
  } else if (const std::string* string = json.string()) {
    dump_string(*string, out);
  } else if (const Json::Array* array = json.array()) {
    out += '[';
    for (const Json& item : *array) {
      if (&item != array->data()) out += ',';
      dump_value(item, out);
    }
    out += ']';
  } else if (const Json::Object* object = json.object()) {
    out += '{';
    for (const auto& member : *object) {
      if (&member != object->data()) out += ',';
      dump_string(member.first, out);
      out += ':';
      dump_value(member.second, out);
    }
    out += '}';
  } else {
    out += "null";
  }
}

// "3", "\"text\"", "{...}": what a message shows of a value that is of the wrong kind.
std::string found(const Json& json) {
  if (json.array() != nullptr) return "a list";
  if (json.object() != nullptr) return "an object";
  std::string text = json.dump();
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

bool as_number(const Json& json, double* number) {
  if (json.integer() != nullptr) *number = static_cast<double>(*json.integer());
  if (json.real() != nullptr) *number = *json.real();
  return json.integer() != nullptr || json.real() != nullptr;
}

}  // namespace

Json Json::parse(std::string_view text, const std::string& where) {
  return Parser(text, where).whole();
}

const Json* Json::member(std::string_view name) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  const auto at = std::find_if(members->begin(), members->end(),
                               [name](const auto& member) { return member.first == name; });
  return at == members->end() ? nullptr : &at->second;
}

std::string Json::dump() const {
  std::string out;
  dump_value(*this, out);
  return out;
}

JsonFields::JsonFields(const Json& object, std::string where, ErrorCode code)
    : object_(object), where_(std::move(where)), code_(code) {
  if (object.object() == nullptr) {
    throw Error(code, where_ + ": expected an object, found " + found(object));
  }
}

const Json* JsonFields::find(std::string_view name) const {
  const Json* value = object_.member(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

bool JsonFields::has(std::string_view name) const { return find(name) != nullptr; }

bool JsonFields::is_null(std::string_view name) const {
  const Json* value = object_.member(name);
  return value != nullptr && value->is_null();
}

void JsonFields::refuse(std::string_view name, const std::string& fault) const {
  throw Error(code_, where_ + ": " + std::string(name) + ": " + fault);
}

const Json& JsonFields::need(std::string_view name, const char* kind) const {
  const Json* value = find(name);
  if (value == nullptr) refuse(name, std::string("is missing; expected ") + kind);
  return *value;
}

int64_t JsonFields::integer(std::string_view name, int64_t least, int64_t most) const {
  const Json& value = need(name, "an integer");
  if (value.integer() == nullptr || *value.integer() < least || *value.integer() > most) {
    refuse(name, "expected an integer from " + std::to_string(least) + " to " +
                     std::to_string(most) + ", found " + found(value));
  }
  return *value.integer();
}

double JsonFields::number(std::string_view name) const {
  const Json& value = need(name, "a number");
  double number;
  if (!as_number(value, &number)) refuse(name, "expected a number, found " + found(value));
  return number;
}

const std::string& JsonFields::text(std::string_view name) const {
  const Json& value = need(name, "a string");
  if (value.string() == nullptr) refuse(name, "expected a string, found " + found(value));
  return *value.string();
}

std::vector<int64_t> JsonFields::integers(std::string_view name, int64_t least,
                                          int64_t most) const {
  const Json& value = need(name, "a list of integers");
  if (value.array() == nullptr) refuse(name, "expected a list of integers, found " + found(value));
  std::vector<int64_t> integers;
  for (const Json& item : *value.array()) {
    if (item.integer() == nullptr || *item.integer() < least || *item.integer() > most) {
      refuse(name, "expected integers from " + std::to_string(least) + " to " +
                       std::to_string(most) + ", found " + found(item));
    }
    integers.push_back(*item.integer());
  }
  return integers;
}

std::vector<double> JsonFields::numbers(std::string_view name) const {
  const Json& value = need(name, "a list of numbers");
  if (value.array() == nullptr) refuse(name, "expected a list of numbers, found " + found(value));
  std::vector<double> numbers;
  for (const Json& item : *value.array()) {
    double number;
    if (!as_number(item, &number)) refuse(name, "expected numbers, found " + found(item));
    numbers.push_back(number);
  }
  return numbers;
}

JsonFields JsonFields::fields(std::string_view name) const {
  return {need(name, "an object"), where_ + ": " + std::string(name), code_};
}

int64_t JsonFields::integer_or(std::string_view name, int64_t otherwise, int64_t least,
                               int64_t most) const {
  return has(name) ? integer(name, least, most) : otherwise;
}

double JsonFields::number_or(std::string_view name, double otherwise) const {
  return has(name) ? number(name) : otherwise;
}

bool JsonFields::boolean_or(std::string_view name, bool otherwise) const {
  const Json* value = find(name);
  if (value == nullptr) return otherwise;
  if (value->boolean() == nullptr) refuse(name, "expected true or false, found " + found(*value));
  return *value->boolean();
}

std::string JsonFields::text_or(std::string_view name, std::string otherwise) const {
  return has(name) ? text(name) : otherwise;
}

std::string read_text_file(const std::string& path) {
  const RegularFile file(path);
  const auto size = static_cast<uint64_t>(file.status().st_size);
  if (size == 0) throw Error(ErrorCode::kInvalidFile, path + ": is empty");
  if (size > kMaxTextFile) {
    throw Error(ErrorCode::kInvalidFile, path + ": is larger than 16 MiB");
  }
  std::string text(size, '\0');
  text.resize(file.read(0, size, text.data()));
  return text;
}

}  // namespace smore
