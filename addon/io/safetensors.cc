#include "io/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "io/json.h"
#include "io/regular_file.h"

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

FileTensor parse_entry(const std::string& name, const Json& entry, uint64_t data_bytes,
                       const std::string& where) {
  if (!is_plain_name(name)) {
    refuse(where, "a tensor name of " + std::to_string(name.size()) +
                      " bytes is empty, too long or not printable");
  }
  const JsonFields fields(entry, where + ": tensor " + name, ErrorCode::kInvalidFile);
  FileTensor tensor;
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
  if (static_cast<uint64_t>(offsets[1]) > data_bytes) {
    fields.refuse("data_offsets", "end at byte " + std::to_string(offsets[1]) +
                                      " of the data, but the file holds only " +
                                      std::to_string(data_bytes));
  }
  tensor.offset = static_cast<uint64_t>(offsets[0]);
  return tensor;
}

void parse_metadata(const Json& json, const std::string& where, SafetensorsIndex& index) {
  if (json.object() == nullptr) refuse(where, "__metadata__: expected an object of strings");
  for (const auto& [key, value] : *json.object()) {
    if (value.string() == nullptr) refuse(where, "__metadata__: " + key + ": expected a string");
    index.metadata.emplace_back(key, *value.string());
  }
}

// The format has no holes: every byte of the data belongs to exactly one tensor.
void check_cover(const std::vector<FileTensor>& sorted, uint64_t data_bytes,
                 const std::string& where) {
  uint64_t expected = 0;
  for (const FileTensor& tensor : sorted) {
    if (tensor.offset != expected) {
      refuse(where, "tensor " + tensor.name + " starts at byte " + std::to_string(tensor.offset) +
                        " of the data, " +
                        (tensor.offset < expected ? "inside the one before it" : "after a gap") +
                        "; expected " + std::to_string(expected));
    }
    expected += tensor.bytes();
  }
  if (expected == data_bytes) return;
  refuse(where, std::to_string(data_bytes - expected) + " bytes at the end belong to no tensor");
}

SafetensorsContent views(SafetensorsIndex index, std::span<const uint8_t> bytes) {
  SafetensorsContent content{{}, std::move(index.metadata)};
  for (FileTensor& tensor : index.tensors) {
    const uint8_t* data = bytes.data() + tensor.offset;
    content.tensors.push_back({std::move(tensor), data});
  }
  return content;
}

}  // namespace

uint64_t safetensors_header_end(std::span<const uint8_t> start, uint64_t file_bytes,
                                const std::string& where) {
  uint64_t header_size;
  static_assert(sizeof(header_size) == kSafetensorsStart);
  if (start.size() < sizeof(header_size)) {
    refuse(where, "is too short for a safetensors file (" + std::to_string(file_bytes) + " bytes)");
  }
  std::memcpy(&header_size, start.data(), sizeof(header_size));
  if (header_size > kMaxHeader || header_size > file_bytes - sizeof(header_size)) {
    refuse(where,
           "is no safetensors file or is truncated: its first 8 bytes announce a header of " +
               std::to_string(header_size) + " bytes, the file has " + std::to_string(file_bytes));
  }
  return sizeof(header_size) + header_size;
}

SafetensorsIndex parse_safetensors_index(std::span<const uint8_t> head, uint64_t file_bytes,
                                         const std::string& where) {
  const std::string_view text(reinterpret_cast<const char*>(head.data()) + kSafetensorsStart,
                              head.size() - kSafetensorsStart);
  const uint64_t data_bytes = file_bytes - head.size();
  const Json header = Json::parse(text, where + ": header");
  if (header.object() == nullptr) refuse(where, "header: expected an object");

  SafetensorsIndex index;
  for (const auto& [name, entry] : *header.object()) {
    if (name == "__metadata__") {
      parse_metadata(entry, where, index);
    } else {
      index.tensors.push_back(parse_entry(name, entry, data_bytes, where));
    }
  }
  std::ranges::stable_sort(index.tensors, {}, &FileTensor::offset);
  check_cover(index.tensors, data_bytes, where);
  for (FileTensor& tensor : index.tensors) tensor.offset += head.size();
  return index;
}

SafetensorsIndex read_safetensors_index(const ReadBytes& read, uint64_t file_bytes,
                                        const std::string& where) {
  std::vector<uint8_t> head(std::min<uint64_t>(file_bytes, kSafetensorsStart));
  read(0, head.size(), head.data());
  head.resize(safetensors_header_end(head, file_bytes, where));
  read(0, head.size(), head.data());
  return parse_safetensors_index(head, file_bytes, where);
}

SafetensorsContent parse_safetensors(std::span<const uint8_t> bytes, const std::string& where) {
  const auto start = bytes.first(std::min(bytes.size(), kSafetensorsStart));
  const uint64_t end = safetensors_header_end(start, bytes.size(), where);
  return views(parse_safetensors_index(bytes.first(end), bytes.size(), where), bytes);
}

SafetensorsFile open_safetensors(const std::string& path) {
  SafetensorsFile opened{MappedFile::open(path), {}};
  const RegularFile file(path);
  const auto read = [&](uint64_t offset, size_t bytes, void* target) {
    if (file.read(offset, bytes, target) == bytes) return;
    throw Error(ErrorCode::kIo, path + ": has become shorter while it was read");
  };
  const auto bytes = opened.file->bytes();
  opened.content = views(read_safetensors_index(read, bytes.size(), path), bytes);
  return opened;
}

}  // namespace smore
