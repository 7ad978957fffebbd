#include "residual/site_tensors.h"

#include "core/error.h"

namespace smore {
namespace {

std::string text_of(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

bool has_shape(const TensorView& tensor, const std::vector<int64_t>& shape) {
  if (tensor.rank != static_cast<int>(shape.size())) return false;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (tensor.shape[i] != shape[i]) return false;
  }
  return true;
}

}  // namespace

void SiteTensors::refuse(const std::string& name, const std::string& fault) const {
  throw Error(ErrorCode::kInvalidAdapter,
              file_.tensors_path + ": base_model.model." + module_ + "." + name + ": " + fault);
}

const TensorView& SiteTensors::view(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) refuse(name, "missing");
  Entry& entry = found->second;
  if (!entry.read) parameters_ += entry.tensor->elements();
  entry.read = true;
  return *entry.tensor;
}

const TensorView& SiteTensors::view(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorView& tensor = view(name);
  if (!has_shape(tensor, shape)) {
    refuse(name, "has shape " + shape_text(tensor) + ", expected " + text_of(shape));
  }
  return tensor;
}

Stored SiteTensors::take(const std::string& name, const std::vector<int64_t>& shape) {
  const TensorView& tensor = view(name, shape);
  return {file_.offset(tensor), tensor.dtype};
}

void SiteTensors::ignore(const std::string& name) {
  const auto found = entries_.find(name);
  if (found != entries_.end()) found->second.read = true;
}

void SiteTensors::refuse_unread() const {
  for (const auto& [name, entry] : entries_) {
    if (!entry.read) refuse(name, "nothing reads this tensor; it does not belong to the adapter");
  }
}

}  // namespace smore
