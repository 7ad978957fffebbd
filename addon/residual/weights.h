#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"
#include "residual/adapter_file.h"
#include "residual/adapters.h"
#include "residual/config.h"
#include "residual/tree.h"

namespace smore {

// Where a tensor's values start in the adapter's file.
struct Stored {
  uint64_t offset = 0;
  DType dtype = DType::kF32;
};

// Where a matrix or a vector starts in its block of memory: the adapter's trunk, or an expert's
// page.
struct Slot {
  static constexpr size_t kNone = SIZE_MAX;

  size_t offset = kNone;
  DType dtype = DType::kF32;
  bool panels = false;    // a matrix in panels of outputs (DenseProduct), else row-major
  size_t scales = kNone;  // of outputs, as float32: then the values are integers of a byte each

  bool exists() const { return offset != kNone; }
  bool coded() const { return scales != kNone; }
  size_t bytes(int64_t values) const {
    return coded() ? static_cast<size_t>(values) : row_bytes(dtype, values);
  }
};

// A slot's data; null where there is none. Slots of vectors are always float32.
inline const void* data_at(const std::byte* block, Slot slot) {
  return slot.exists() ? block + slot.offset : nullptr;
}
inline const float* floats_at(const std::byte* block, Slot slot) {
  return static_cast<const float*>(data_at(block, slot));
}

// A router's input is concat(t, keys chosen above), so its first product is split: the part of t is
// one product for all levels, the part of each key is a table made once at load. Keys of a softmax
// router are multiplied into its second layer.
struct RouterSlots {
  int first_row = 0;  // of this level's rows in SiteSlots::routers
  int rows = 0;       // g with two layers, else s
  std::vector<Slot>
      tables;   // root first, one per level m above: [s_m, rows] what a chosen key adds
  Slot second;  // two layers: [k, g] before a cosine, else [s, g]
  Slot second_bias;
  Slot keys;  // cosine only: [s, k], rows of length 1
};

struct LevelSlots {
  RouterSlots router;
  Slot w, w_bias;  // trunk: [d_{l+1}, d_l], [d_{l+1}]; none at the leaves and in sums
  Slot a, a_bias;  // page: [r, in], [r]
  Slot b, b_bias;  // page: [d_{l+1}, r], [d_{l+1}]
  size_t page_bytes = 0;
  int first_page = 0;  // of expert 0; the levels of a shared pool have the same pages
};

struct SiteSlots {
  Slot projection, projection_bias;  // [u, in], [u]
  Slot routers, router_bias;  // [sum of rows, u], [sum of rows]: first products of all levels
  int router_rows = 0;
  Slot final_w, final_bias;  // [out, d_L], [out]
  std::vector<LevelSlots> levels;
};

// Where the file holds what the slots are filled from; unused ones stay at offset 0.
struct LevelSources {
  Stored keys, first, first_bias, second, second_bias;
  Stored a, a_bias, b, b_bias, w, w_bias;
};
struct SiteSources {
  Stored projection, projection_bias, final_w, final_bias;
  std::vector<LevelSources> levels;
};

struct SitePlan {
  int layer = 0;
  Site site = Site::kQ;
  Mixture mixture;
  SiteSlots slots;
  SiteSources sources;
  int first_page = 0;
  int pages = 0;           // experts; one page each
  size_t trunk_bytes = 0;  // of this linear
};

struct PagePlan {
  int site = 0;  // index into AdapterPlan::sites
  int level = 0;
  int expert = 0;
};

// A validated adapter: shapes, meaning and places of everything, but no weights.
struct AdapterPlan {
  std::string path;
  AdapterInfo info;
  std::vector<SitePlan> sites;                      // in the order of the graph
  std::vector<std::array<int, kSites>> site_index;  // per layer of the base: into sites, or -1
  std::vector<PagePlan> pages;
  size_t trunk_bytes = 0;
  std::shared_ptr<const FileReader> reader;

  const SitePlan* find(int layer, Site site) const {
    const int index = site_index[layer][static_cast<int>(site)];
    return index < 0 ? nullptr : &sites[index];
  }
  const LevelSlots& page_level(int page) const {
    return sites[pages[page].site].slots.levels[pages[page].level];
  }
};

// "model.layers.3.mlp.up_proj".
std::string module_path(int layer, Site site);

// Validates every tensor of the file against its configuration and the base. Experts
// and W are planned as `type`. Throws Error(kInvalidAdapter,
// kUnsupported) naming file and tensor.
AdapterPlan plan_adapter(const AdapterFile& file, const ModelConfig& base, ExpertType type,
                         const CheckProgress& progress = {});

// Fill a block of trunk_bytes, or of a page's bytes, from the file. Throw Error(kIo) when it
// cannot be read, Error(kInvalidAdapter) when a product of routers' weights is not finite.
void load_trunk(const AdapterPlan& plan, std::byte* block);
void load_page(const AdapterPlan& plan, int page, std::byte* block);

}  // namespace smore
