#include "model/source_files.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "core/error.h"
#include "io/json.h"
#include "io/regular_file.h"

namespace smore {
namespace {

namespace fs = std::filesystem;

std::vector<SafetensorsFile> open_shards(const std::string& folder, const std::string& index_path) {
  const Json index = Json::parse(read_text_file(index_path), index_path);
  const JsonFields fields(index, index_path, ErrorCode::kInvalidModel);
  const JsonFields weight_map = fields.fields("weight_map");
  std::map<std::string, std::vector<std::string_view>> shards;
  for (const auto& [tensor, file] : weight_map.members()) {
    const std::string& name = weight_map.text(tensor);
    if (name.empty() || name == ".." || fs::path(name).filename() != name) {
      weight_map.refuse(tensor,
                        "expected the name of a file in the same folder, found " + file.dump());
    }
    shards[name].push_back(tensor);
  }
  std::vector<SafetensorsFile> files;
  for (const auto& [name, expected] : shards) {
    files.push_back(open_safetensors(folder + "/" + name));
    for (const std::string_view tensor : expected) {
      if (std::ranges::find(files.back().content.tensors, tensor, &TensorView::name) ==
          files.back().content.tensors.end()) {
        weight_map.refuse(tensor, "is not in " + name);
      }
    }
  }
  return files;
}

}  // namespace

std::vector<SafetensorsFile> open_weight_files(const std::string& folder) {
  const std::string index_path = folder + "/model.safetensors.index.json";
  const std::string single_path = folder + "/model.safetensors";
  if (has_entry(index_path)) return open_shards(folder, index_path);
  if (!has_entry(single_path)) {
    throw Error(ErrorCode::kInvalidModel,
                folder + ": holds neither model.safetensors nor model.safetensors.index.json");
  }
  std::vector<SafetensorsFile> files;
  files.push_back(open_safetensors(single_path));
  return files;
}

}  // namespace smore
