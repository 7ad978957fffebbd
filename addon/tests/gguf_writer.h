#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace smore {

// Writes GGUF bytes piece by piece, damaged ones too.
class GgufBytes {
 public:
  GgufBytes(uint64_t tensors, uint64_t metadata, uint32_t version = 3) {
    raw("GGUF");
    put(version);
    put(tensors);
    put(metadata);
  }

  GgufBytes& raw(std::string_view text) {
    bytes_.append(text);
    return *this;
  }

  template <class T>
  GgufBytes& put(T value) {
    return raw({reinterpret_cast<const char*>(&value), sizeof(value)});
  }

  GgufBytes& string(std::string_view text) { return put<uint64_t>(text.size()).raw(text); }

  template <class T>
  GgufBytes& entry(std::string_view key, uint32_t type, T value) {
    return string(key).put(type).put(value);
  }

  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& shape, uint32_t type,
                    uint64_t offset) {
    string(name).put(static_cast<uint32_t>(shape.size()));
    for (const uint64_t extent : shape) put(extent);
    return put(type).put(offset);
  }

  // Pads to the data section and adds its bytes.
  GgufBytes& data(size_t size, size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment + size);
    return *this;
  }

  std::span<const uint8_t> bytes() const {
    return {reinterpret_cast<const uint8_t*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::string bytes_;
};

// Numbers of GGUF's metadata and tensor types that tests use.
inline constexpr uint32_t kGgufUint32 = 4, kGgufFloat32 = 6, kGgufBool = 7, kGgufString = 8,
                          kGgufArray = 9, kGgufUint64 = 10;
inline constexpr uint32_t kGgmlF32 = 0, kGgmlQ4_0 = 2, kGgmlIq2 = 16;

}  // namespace smore
