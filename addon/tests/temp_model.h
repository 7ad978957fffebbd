#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace smore {

inline void write_safetensors(const std::string& path, const std::vector<TensorView>& tensors) {
  Json::Object header;
  int64_t at = 0;
  for (const TensorView& tensor : tensors) {
    Json::Array shape;
    for (int i = 0; i < tensor.rank; ++i) shape.emplace_back(tensor.shape[i]);
    const auto end = at + static_cast<int64_t>(tensor.bytes());
    header.emplace_back(
        tensor.name, Json(Json::Object{{"dtype", Json(dtype_info(tensor.dtype).name)},
                                       {"shape", Json(shape)},
                                       {"data_offsets", Json(Json::Array{Json(at), Json(end)})}}));
    at = end;
  }
  const std::string text = Json(header).dump();
  const uint64_t size = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&size), sizeof(size));
  file << text;
  for (const TensorView& tensor : tensors) {
    file.write(static_cast<const char*>(tensor.data), static_cast<std::streamsize>(tensor.bytes()));
  }
}

// An empty folder, or a copy of a fixture's (a model or an adapter) that a test may damage; removed
// at the end.
class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/smore-test-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  explicit TempFolder(const std::string& fixture) : TempFolder() {
    std::filesystem::copy(SMORE_FIXTURES "/" + fixture, path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(file(name), std::ios::binary) << text;
  }

  // Replaces `from`, which must be there, in a text file.
  void edit(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = read_text_file(file(name));
    const size_t at = text.find(from);
    REQUIRE_MESSAGE(at != text.npos, from);
    write(name, text.replace(at, from.size(), to));
  }

  // Lets `change` alter the list of a safetensors file's tensors: names, shapes, order, bytes.
  template <class Change>
  void edit_tensors(const std::string& name, Change&& change) const {
    const SafetensorsFile opened = open_safetensors(file(name));
    std::vector<TensorView> tensors = opened.content.tensors;
    change(tensors);
    write_safetensors(file("edited"), tensors);
    std::filesystem::rename(file("edited"), file(name));
  }

  // Overwrites the bytes of one tensor from the given byte on.
  template <class T>
  void poke(const std::string& name, const std::string& tensor, size_t byte, T value) const {
    edit_tensors(name, [&](std::vector<TensorView>& tensors) {
      for (TensorView& view : tensors) {
        if (view.name != tensor) continue;
        const auto* bytes = static_cast<const uint8_t*>(view.data);
        poked_.assign(bytes, bytes + view.bytes());
        std::memcpy(poked_.data() + byte, &value, sizeof(value));
        view.data = poked_.data();
      }
    });
  }

 private:
  std::string path_;
  mutable std::vector<uint8_t> poked_;
};

}  // namespace smore
