#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <type_traits>
#include <unordered_set>

#include "core/error.h"

namespace smore {
namespace {

static_assert(std::endian::native == std::endian::little, "stored tensors are little-endian");

constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint64_t kMaxExtent = uint64_t{1} << 40;
constexpr uint64_t kMaxTensorBytes = uint64_t{1} << 60;

// Numbers of the metadata types.
enum ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};
constexpr const char* kValueTypeNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                           "int32",  "float32", "bool",   "string", "array",
                                           "uint64", "int64",   "float64"};
constexpr uint64_t kValueTypeBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};  // 0 = varies

struct GgmlType {
  uint32_t number;
  DType dtype;
};
constexpr GgmlType kGgmlTypes[] = {
    {0, DType::kF32},   {1, DType::kF16},   {2, DType::kQ4_0}, {3, DType::kQ4_1},
    {6, DType::kQ5_0},  {7, DType::kQ5_1},  {8, DType::kQ8_0}, {12, DType::kQ4_K},
    {13, DType::kQ5_K}, {14, DType::kQ6_K}, {26, DType::kI32}, {30, DType::kBF16},
};

class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  [[noreturn]] void refuse(const std::string& fault) const {
    throw Error(ErrorCode::kInvalidFile, where_ + ": " + fault);
  }

  uint64_t at() const { return at_; }
  uint64_t left() const { return bytes_.size() - at_; }

  std::span<const uint8_t> take(uint64_t size, const char* what) {
    if (size > left()) {
      refuse("is truncated or damaged: " + std::string(what) + " at byte " + std::to_string(at_) +
             " needs " + std::to_string(size) + " bytes, " + std::to_string(left()) + " are left");
    }
    const auto taken = bytes_.subspan(at_, size);
    at_ += size;
    return taken;
  }

  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view string(const char* what) {
    const auto size = number<uint64_t>(what);
    const auto text = take(size, what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::span<const uint8_t> bytes_;
  const std::string& where_;
  uint64_t at_ = 0;
};

GgufArray read_array(Reader& reader, const std::string& key) {
  GgufArray array;
  array.item_type = reader.number<uint32_t>("an array's type");
  array.count = reader.number<uint64_t>("an array's length");
  if (array.item_type > kFloat64) {
    reader.refuse(key + ": unknown type of array items " + std::to_string(array.item_type));
  }
  if (array.item_type == kArray) reader.refuse(key + ": arrays of arrays are not supported");
  if (array.item_type != kString) {
    const uint64_t item = kValueTypeBytes[array.item_type];
    if (array.count > reader.left() / item) {
      reader.refuse(key + ": is truncated or damaged: an array of " + std::to_string(array.count) +
                    " items runs past the end of the file");
    }
    array.bytes = reader.take(array.count * item, "an array");
    return array;
  }
  const Reader before = reader;
  for (uint64_t i = 0; i < array.count; ++i) reader.string("an array's string");
  Reader again = before;
  array.bytes = again.take(reader.at() - before.at(), "an array");
  return array;
}

GgufValue read_value(Reader& reader, const std::string& key) {
  constexpr const char* kWhat = "a metadata value";
  const auto type = reader.number<uint32_t>("a metadata type");
  switch (type) {
    case kUint8:
      return int64_t{reader.number<uint8_t>(kWhat)};
    case kInt8:
      return int64_t{reader.number<int8_t>(kWhat)};
    case kUint16:
      return int64_t{reader.number<uint16_t>(kWhat)};
    case kInt16:
      return int64_t{reader.number<int16_t>(kWhat)};
    case kUint32:
      return int64_t{reader.number<uint32_t>(kWhat)};
    case kInt32:
      return int64_t{reader.number<int32_t>(kWhat)};
    case kInt64:
      return reader.number<int64_t>(kWhat);
    case kUint64: {
      const auto value = reader.number<uint64_t>(kWhat);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        reader.refuse(key + ": " + std::to_string(value) + " is out of range");
      }
      return static_cast<int64_t>(value);
    }
    case kFloat32:
      return double{reader.number<float>(kWhat)};
    case kFloat64:
      return reader.number<double>(kWhat);
    case kBool: {
      const auto value = reader.number<uint8_t>(kWhat);
      if (value > 1) reader.refuse(key + ": a boolean is 0 or 1, found " + std::to_string(value));
      return value == 1;
    }
    case kString:
      return std::string(reader.string(kWhat));
    case kArray:
      return read_array(reader, key);
    default:
      reader.refuse(key + ": unknown metadata type " + std::to_string(type));
  }
}

std::string read_name(Reader& reader, const char* what) {
  const std::string_view name = reader.string(what);
  if (!is_plain_name(name)) {
    reader.refuse(std::string(what) + " of " + std::to_string(name.size()) +
                  " bytes is empty, too long or not printable");
  }
  return std::string(name);
}

void read_metadata(Reader& reader, uint64_t count, GgufContent& content) {
  std::unordered_set<std::string> seen;
  for (uint64_t i = 0; i < count; ++i) {
    std::string key = read_name(reader, "a metadata key");
    if (!seen.insert(key).second) reader.refuse("metadata " + key + " occurs twice");
    GgufValue value = read_value(reader, key);
    content.metadata.push_back({std::move(key), std::move(value)});
  }
}

DType read_dtype(Reader& reader, const std::string& where, const std::string& tensor) {
  const auto number = reader.number<uint32_t>("a tensor's type");
  for (const GgmlType& type : kGgmlTypes) {
    if (type.number == number) return type.dtype;
  }
  throw Error(
      ErrorCode::kUnsupported,
      where + ": tensor " + tensor + ": ggml type " + std::to_string(number) +
          " is not supported; F32, F16, BF16, I32, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K "
          "and Q6_K are");
}

struct TensorEntry {
  TensorView view;  // without data
  uint64_t offset;  // into the data section
  uint64_t bytes;
};

TensorEntry read_tensor_entry(Reader& reader, const std::string& where) {
  TensorEntry entry;
  TensorView& view = entry.view;
  view.name = read_name(reader, "a tensor name");
  const std::string label = "tensor " + view.name;
  const auto rank = reader.number<uint32_t>("a tensor's rank");
  if (rank < 1 || rank > view.shape.size()) {
    reader.refuse(label + " has " + std::to_string(rank) + " dimensions; expected 1 to 4");
  }
  view.rank = static_cast<int>(rank);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {  // the file lists columns first
    const auto extent = reader.number<uint64_t>("a tensor's shape");
    if (extent == 0 || extent > kMaxExtent || elements > kMaxTensorBytes / extent) {
      reader.refuse(label + " has an impossible dimension of " + std::to_string(extent));
    }
    elements *= extent;
    view.shape[rank - 1 - i] = static_cast<int64_t>(extent);
  }
  view.dtype = read_dtype(reader, where, view.name);
  const DTypeInfo& info = dtype_info(view.dtype);
  if (view.columns() % info.block != 0) {
    reader.refuse(label + " has rows of " + std::to_string(view.columns()) + " values; " +
                  info.name + " needs a multiple of " + std::to_string(info.block));
  }
  entry.bytes = elements / info.block * info.bytes;
  entry.offset = reader.number<uint64_t>("a tensor's offset");
  return entry;
}

uint64_t alignment_of(const GgufContent& content, const Reader& reader) {
  const GgufValue* value = content.find("general.alignment");
  if (value == nullptr) return kDefaultAlignment;
  const int64_t* number = std::get_if<int64_t>(value);
  if (number == nullptr || *number < 8 || static_cast<uint64_t>(*number) > kMaxAlignment ||
      !std::has_single_bit(static_cast<uint64_t>(*number))) {
    reader.refuse("general.alignment: expected a power of two from 8 to " +
                  std::to_string(kMaxAlignment));
  }
  return static_cast<uint64_t>(*number);
}

void check_names(const std::vector<TensorEntry>& entries, const Reader& reader) {
  std::unordered_set<std::string_view> seen;
  for (const TensorEntry& entry : entries) {
    if (!seen.insert(entry.view.name).second) {
      reader.refuse("tensor " + entry.view.name + " occurs twice");
    }
  }
}

void check_overlap(const std::vector<TensorEntry>& entries, const Reader& reader) {
  std::vector<const TensorEntry*> sorted;
  for (const TensorEntry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i]->offset < sorted[i - 1]->offset + sorted[i - 1]->bytes) {
      reader.refuse("tensors " + sorted[i - 1]->view.name + " and " + sorted[i]->view.name +
                    " overlap");
    }
  }
}

// Points every entry at its bytes in the data section, which starts at the next aligned byte.
void place_tensors(std::vector<TensorEntry>& entries, std::span<const uint8_t> bytes,
                   Reader& reader, GgufContent& content) {
  if (entries.empty()) return;
  const uint64_t alignment = alignment_of(content, reader);
  const uint64_t start = (reader.at() + alignment - 1) / alignment * alignment;
  const uint64_t size = start > bytes.size() ? 0 : bytes.size() - start;
  for (TensorEntry& entry : entries) {
    if (entry.offset % alignment != 0) {
      reader.refuse("tensor " + entry.view.name + " starts at " + std::to_string(entry.offset) +
                    ", not a multiple of the alignment " + std::to_string(alignment));
    }
    if (entry.bytes > size || entry.offset > size - entry.bytes) {
      reader.refuse("is truncated or damaged: tensor " + entry.view.name + " needs " +
                    std::to_string(entry.bytes) + " bytes at offset " +
                    std::to_string(entry.offset) + ", the data section has " +
                    std::to_string(size));
    }
    entry.view.data = bytes.data() + start + entry.offset;
  }
  check_names(entries, reader);
  check_overlap(entries, reader);
  for (TensorEntry& entry : entries) content.tensors.push_back(std::move(entry.view));
}

template <class T>
std::vector<int64_t> widen(std::span<const uint8_t> bytes) {
  std::vector<int64_t> items(bytes.size() / sizeof(T));
  for (size_t i = 0; i < items.size(); ++i) {
    T item;
    std::memcpy(&item, bytes.data() + i * sizeof(T), sizeof(T));
    items[i] = static_cast<int64_t>(item);
  }
  return items;
}

}  // namespace

std::string GgufArray::type_name() const {
  return std::string("[") + kValueTypeNames[item_type] + ", " + std::to_string(count) + " items]";
}

const GgufValue* GgufContent::find(std::string_view key) const {
  const auto at = std::find_if(metadata.begin(), metadata.end(),
                               [key](const GgufEntry& entry) { return entry.key == key; });
  return at == metadata.end() ? nullptr : &at->value;
}

std::optional<std::vector<int64_t>> gguf_integers(const GgufArray& array) {
  switch (array.item_type) {
    case kUint8:
      return widen<uint8_t>(array.bytes);
    case kInt8:
      return widen<int8_t>(array.bytes);
    case kUint16:
      return widen<uint16_t>(array.bytes);
    case kInt16:
      return widen<int16_t>(array.bytes);
    case kUint32:
      return widen<uint32_t>(array.bytes);
    case kInt32:
      return widen<int32_t>(array.bytes);
    case kUint64:
      return widen<uint64_t>(array.bytes);
    case kInt64:
      return widen<int64_t>(array.bytes);
    default:
      return std::nullopt;
  }
}

std::optional<std::vector<std::string_view>> gguf_strings(const GgufArray& array) {
  if (array.item_type != kString) return std::nullopt;
  std::vector<std::string_view> strings;
  strings.reserve(array.count);
  const std::string where = "array";
  Reader reader(array.bytes, where);
  for (uint64_t i = 0; i < array.count; ++i) strings.push_back(reader.string("a string"));
  return strings;
}

GgufContent parse_gguf(std::span<const uint8_t> bytes, const std::string& where) {
  Reader reader(bytes, where);
  const auto magic = reader.take(4, "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) {
    reader.refuse("is no GGUF file: it does not start with \"GGUF\"");
  }
  GgufContent content;
  content.version = reader.number<uint32_t>("the version");
  if (content.version != 2 && content.version != 3) {
    throw Error(ErrorCode::kUnsupported,
                where + ": GGUF version " + std::to_string(content.version) +
                    " (or a big-endian file) is not supported; versions 2 and 3 are");
  }
  const auto tensor_count = reader.number<uint64_t>("the number of tensors");
  const auto metadata_count = reader.number<uint64_t>("the number of metadata entries");
  read_metadata(reader, metadata_count, content);
  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < tensor_count; ++i) entries.push_back(read_tensor_entry(reader, where));
  place_tensors(entries, bytes, reader, content);
  return content;
}

GgufFile open_gguf(const std::string& path) {
  GgufFile opened{MappedFile::open(path), {}};
  opened.content = parse_gguf(opened.file->bytes(), path);
  return opened;
}

}  // namespace smore
