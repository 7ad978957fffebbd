#pragma once

#include <map>
#include <string>
#include <vector>

#include "backends/cpu/dense.h"
#include "residual/adapter_file.h"
#include "residual/weights.h"

namespace smore {

// The tensors of one adapted linear while it is validated. Whatever is never asked for is refused
// at the end, so a misspelt or surplus tensor cannot pass unnoticed.
class SiteTensors {
 public:
  SiteTensors(const AdapterFile& file, std::string module, int layer, Site site)
      : file_(file), module_(std::move(module)), layer_(layer), site_(site) {}

  // `beyond`: index of the first value that is not finite as bfloat16, -1 = all are.
  void add(const std::string& name, const FileTensor& tensor, int64_t beyond) {
    entries_[name] = {&tensor, beyond, false};
  }

  const std::string& module() const { return module_; }  // "model.layers.0.mlp.up_proj"
  int layer() const { return layer_; }
  Site site() const { return site_; }

  bool has(const std::string& name) const { return entries_.contains(name); }
  // Marks the tensor as read. Throws unless it exists and, with `shape`, has that shape.
  const FileTensor& view(const std::string& name);
  const FileTensor& view(const std::string& name, const std::vector<int64_t>& shape);
  Stored take(const std::string& name, const std::vector<int64_t>& shape);
  // Of experts and W: throws also where a value is not finite in the type that was asked for.
  Stored take_weights(const std::string& name, const std::vector<int64_t>& shape, ExpertType type);
  // The tensor's only value; marks it as read.
  float scalar(const std::string& name);
  // Whether two tensors hold the same bytes.
  bool same_bytes(const FileTensor& a, const FileTensor& b) const;
  void ignore(const std::string& name);  // present or not

  void refuse_unread() const;
  [[noreturn]] void refuse(const std::string& name, const std::string& fault) const;

  int64_t parameters() const { return parameters_; }

 private:
  struct Entry {
    const FileTensor* tensor;
    int64_t beyond;
    bool read;
  };

  const AdapterFile& file_;
  std::string module_;
  int layer_;
  Site site_;
  std::map<std::string, Entry> entries_;
  int64_t parameters_ = 0;  // of the tensors taken
};

// Gives out places in a block, each on a cache line of its own.
class BlockLayout {
 public:
  Slot add(DType dtype, int64_t count) {
    const Slot slot{bytes_, dtype, false};
    bytes_ += (row_bytes(dtype, count) + kLine - 1) / kLine * kLine;
    return slot;
  }
  Slot floats(int64_t count) { return add(DType::kF32, count); }
  // A matrix whose rows are short: in panels.
  Slot matrix(DType dtype, int64_t outputs, int64_t inputs) {
    Slot slot = add(dtype, panel_values(dtype, outputs, inputs));
    slot.panels = true;
    return slot;
  }
  // Experts and W: like matrix() or rows of `inputs`, in the type that was asked for.
  Slot weights(ExpertType type, DType stored, int64_t outputs, int64_t inputs, bool panels) {
    const DType dtype = type == ExpertType::kStored ? stored : DType::kBF16;
    if (type != ExpertType::kInt8) {
      return panels ? matrix(dtype, outputs, inputs) : add(dtype, outputs * inputs);
    }
    Slot slot{bytes_, dtype, panels};
    const int64_t values =
        panels ? panel_values(dtype, outputs, inputs) : outputs * code_row_values(inputs);
    bytes_ += (values + kLine - 1) / kLine * kLine;
    slot.scales = floats(outputs).offset;
    return slot;
  }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr size_t kLine = 64;
  size_t bytes_ = 0;
};

// What the loaders of the family share: they fill mixture, slots and sources of a site.
struct SiteBuilder {
  SiteTensors& tensors;
  BlockLayout& trunk;
  ExpertType type;  // of experts and W
  SitePlan& plan;
};

void build_smore_site(SiteBuilder& builder, const SmoreConfig& config);
void build_lora_site(SiteBuilder& builder, const LoraConfig& config);

}  // namespace smore
