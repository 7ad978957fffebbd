#include "residual/adapter_file.h"

#include <filesystem>
#include <utility>

#include "core/error.h"
#include "io/safetensors.h"

namespace smore {
namespace {

SafetensorsIndex read_index(const FileReader& reader) {
  const auto read = [&](uint64_t offset, size_t bytes, void* target) {
    reader.read(offset, bytes, target);
  };
  return read_safetensors_index(read, reader.bytes(), reader.path());
}

}  // namespace

FileReader::FileReader(const std::string& path) : file_(path), opened_(version()) {
  file_.require_spare_descriptors();
}

FileReader::Version FileReader::version() const {
  const struct stat status = file_.status();
  return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_size};
}

void FileReader::read(uint64_t offset, size_t bytes, void* target) const {
  if (file_.read(offset, bytes, target) < bytes || version() != opened_) {
    throw Error(
        ErrorCode::kIo,
        file_.path() + ": has changed since the adapter was loaded; replace the folder by another");
  }
}

AdapterFile open_adapter_folder(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code unreadable;
  if (!fs::is_directory(folder, unreadable)) {
    throw Error(ErrorCode::kInvalidAdapter,
                folder +
                    ": not a folder; an adapter is a folder with adapter_config.json and "
                    "adapter_model.safetensors");
  }
  AdapterFile adapter;
  adapter.where = folder + "/adapter_config.json";
  adapter.tensors_path = folder + "/adapter_model.safetensors";
  if (!has_entry(adapter.where)) {
    throw Error(ErrorCode::kInvalidAdapter, adapter.where + ": missing");
  }
  if (!has_entry(adapter.tensors_path)) {
    const std::string pickle = folder + "/adapter_model.bin";
    if (has_entry(pickle)) {
      throw Error(ErrorCode::kInvalidAdapter,
                  pickle +
                      ": a pickle, which may run code when it is read, is not served; make "
                      "adapter_model.safetensors of it (docs/adapters.md tells how)");
    }
    throw Error(ErrorCode::kInvalidAdapter, adapter.tensors_path + ": missing");
  }
  adapter.config = Json::parse(read_text_file(adapter.where), adapter.where);
  adapter.reader = std::make_shared<FileReader>(adapter.tensors_path);
  adapter.tensors = read_index(*adapter.reader).tensors;
  return adapter;
}

AdapterFile open_adapter_golden(const std::string& path) {
  AdapterFile adapter;
  adapter.reader = std::make_shared<FileReader>(path);
  SafetensorsIndex index = read_index(*adapter.reader);
  adapter.where = path + ": adapter_config";
  adapter.whole = false;
  adapter.tensors_path = path;
  for (const auto& [key, text] : index.metadata) {
    if (key == "adapter_config") adapter.config = Json::parse(text, adapter.where);
  }
  for (FileTensor& tensor : index.tensors) {
    if (tensor.name.starts_with("base_model.")) adapter.tensors.push_back(std::move(tensor));
  }
  return adapter;
}

}  // namespace smore
