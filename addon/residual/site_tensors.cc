#include "residual/site_tensors.h"

#include <algorithm>
#include <array>
#include <cstring>

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

bool has_shape(const FileTensor& tensor, const std::vector<int64_t>& shape) {
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

const FileTensor& SiteTensors::view(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) refuse(name, "missing");
  Entry& entry = found->second;
  if (!entry.read) parameters_ += entry.tensor->elements();
  entry.read = true;
  return *entry.tensor;
}

const FileTensor& SiteTensors::view(const std::string& name, const std::vector<int64_t>& shape) {
  const FileTensor& tensor = view(name);
  if (!has_shape(tensor, shape)) {
    refuse(name, "has shape " + shape_text(tensor) + ", expected " + text_of(shape));
  }
  return tensor;
}

Stored SiteTensors::take(const std::string& name, const std::vector<int64_t>& shape) {
  const FileTensor& tensor = view(name, shape);
  return {tensor.offset, tensor.dtype};
}

Stored SiteTensors::take_weights(const std::string& name, const std::vector<int64_t>& shape,
                                 ExpertType type) {
  const Stored stored = take(name, shape);
  const int64_t beyond = entries_.at(name).beyond;
  if (type == ExpertType::kBf16 && beyond >= 0) {
    refuse(name, "value " + std::to_string(beyond) +
                     " is too large for bfloat16; serve it without --adapter-dtype bf16");
  }
  return stored;
}

float SiteTensors::scalar(const std::string& name) {
  const FileTensor& tensor = view(name, {1});
  std::array<std::byte, sizeof(float)> stored;
  file_.reader->read(tensor.offset, tensor.bytes(), stored.data());
  float value;
  to_float(tensor.dtype, stored.data(), 1, &value);
  return value;
}

bool SiteTensors::same_bytes(const FileTensor& a, const FileTensor& b) const {
  if (a.dtype != b.dtype || a.bytes() != b.bytes()) return false;
  std::vector<std::byte> left(std::min(a.bytes(), kReadAtOnce));
  std::vector<std::byte> right(left.size());
  for (size_t at = 0; at < a.bytes(); at += left.size()) {
    const size_t bytes = std::min(left.size(), a.bytes() - at);
    file_.reader->read(a.offset + at, bytes, left.data());
    file_.reader->read(b.offset + at, bytes, right.data());
    if (std::memcmp(left.data(), right.data(), bytes) != 0) return false;
  }
  return true;
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
