#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "io/json.h"

namespace smore {
namespace {

static_assert(std::endian::native == std::endian::little, "stored tensors are little-endian");

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the format's own reader
constexpr int64_t kMaxExtent = int64_t{1} << 40;
constexpr int64_t kMaxOffset = int64_t{1} << 60;

[[noreturn]] void refuse(const std::string& where, const std::string& fault) {
  throw Error(ErrorCode::kInvalidFile, where + ": " + fault);
}

std::optional<DType> dtype_by_name(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI32}) {
    if (name == dtype_info(dtype).name) return dtype;
  }
  return std::nullopt;
}

TensorView parse_entry(const std::string& name, const Json& entry, std::span<const uint8_t> data,
                       const std::string& where) {
  if (!is_plain_name(name)) {
    refuse(where, "a tensor name of " + std::to_string(name.size()) +
                      " bytes is empty, too long or not printable");
  }
  const JsonFields fields(entry, where + ": tensor " + name, ErrorCode::kInvalidFile);
  TensorView tensor;
  tensor.name = name;
  const std::string& dtype = fields.text("dtype");
  const auto known = dtype_by_name(dtype);
  if (!known) {
    throw Error(ErrorCode::kUnsupported, fields.where() + ": type " + dtype +
                                             " is not supported; F32, F16, BF16 and I32 are");
  }
  tensor.dtype = *known;
  const auto shape = fields.integers("shape", 1, kMaxExtent);
  if (shape.size() > tensor.shape.size()) fields.refuse("shape", "has more than 4 dimensions");
  tensor.rank = static_cast<int>(shape.size());
  // Saturates at a size that no file has, so that the comparison below sees every overflow.
  int64_t size = dtype_info(tensor.dtype).bytes;
  for (size_t i = 0; i < shape.size(); ++i) {
    tensor.shape[i] = shape[i];
    size = shape[i] > kMaxOffset / size ? kMaxOffset : size * shape[i];
  }
  const auto offsets = fields.integers("data_offsets", 0, kMaxOffset);
  if (offsets.size() != 2 || offsets[1] < offsets[0]) {
    fields.refuse("data_offsets", "expected a begin and an end");
  }
  if (offsets[1] - offsets[0] != size) {
    fields.refuse("data_offsets", "span " + std::to_string(offsets[1] - offsets[0]) +
                                      " bytes, but " + shape_text(tensor) + " of " + dtype +
                                      " takes " + std::to_string(size));
  }
  if (static_cast<uint64_t>(offsets[1]) > data.size()) {
    fields.refuse("data_offsets", "end at byte " + std::to_string(offsets[1]) +
                                      " of the data, but the file holds only " +
                                      std::to_string(data.size()));
  }
  tensor.data = data.data() + offsets[0];
  return tensor;
}

void parse_metadata(const Json& json, const std::string& where, SafetensorsContent& content) {
  if (json.object() == nullptr) refuse(where, "__metadata__: expected an object of strings");
  for (const auto& [key, value] : *json.object()) {
    if (value.string() == nullptr) refuse(where, "__metadata__: " + key + ": expected a string");
    content.metadata.emplace_back(key, *value.string());
  }
}

// The format has no holes: every byte of the data belongs to exactly one tensor.
void check_cover(const std::vector<TensorView>& sorted, std::span<const uint8_t> data,
                 const std::string& where) {
  const uint8_t* expected = data.data();
  for (const TensorView& tensor : sorted) {
    const auto* begin = static_cast<const uint8_t*>(tensor.data);
    if (begin != expected) {
      refuse(where, "tensor " + tensor.name + " starts at byte " +
                        std::to_string(begin - data.data()) + " of the data, " +
                        (begin < expected ? "inside the one before it" : "after a gap") +
                        "; expected " + std::to_string(expected - data.data()));
    }
    expected = begin + tensor.bytes();
  }
  const auto left = static_cast<size_t>(data.data() + data.size() - expected);
  if (left != 0) refuse(where, std::to_string(left) + " bytes at the end belong to no tensor");
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const uint8_t> bytes, const std::string& where) {
  uint64_t header_size;
  if (bytes.size() < sizeof(header_size)) {
    refuse(where,
           "is too short for a safetensors file (" + std::to_string(bytes.size()) + " bytes)");
  }
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  if (header_size > kMaxHeader || header_size > bytes.size() - sizeof(header_size)) {
    refuse(where,
           "is no safetensors file or is truncated: its first 8 bytes announce a header of " +
               std::to_string(header_size) + " bytes, the file has " +
               std::to_string(bytes.size()));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(header_size),
                              header_size);
  const std::span<const uint8_t> data = bytes.subspan(sizeof(header_size) + header_size);
  const Json header = Json::parse(text, where + ": header");
  if (header.object() == nullptr) refuse(where, "header: expected an object");

  SafetensorsContent content;
  for (const auto& [name, entry] : *header.object()) {
    if (name == "__metadata__") {
      parse_metadata(entry, where, content);
    } else {
      content.tensors.push_back(parse_entry(name, entry, data, where));
    }
  }
  std::stable_sort(content.tensors.begin(), content.tensors.end(),
                   [](const TensorView& a, const TensorView& b) { return a.data < b.data; });
  check_cover(content.tensors, data, where);
  return content;
}

SafetensorsFile open_safetensors(const std::string& path) {
  SafetensorsFile opened{MappedFile::open(path), {}};
  opened.content = parse_safetensors(opened.file->bytes(), path);
  return opened;
}

}  // namespace smore
