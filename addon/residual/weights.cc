#include "residual/weights.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "residual/site_tensors.h"

namespace smore {
namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kLayers = "model.layers.";
constexpr const char* kModules[kSites] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

int inputs_of(const ModelConfig& base, Site site) {
  if (site == Site::kO) return base.heads * base.head_dim;
  return site == Site::kDown ? base.ffn_width : base.width;
}

int outputs_of(const ModelConfig& base, Site site) {
  switch (site) {
    case Site::kQ:
      return base.heads * base.head_dim;
    case Site::kK:
    case Site::kV:
      return base.kv_heads * base.head_dim;
    case Site::kGate:
    case Site::kUp:
      return base.ffn_width;
    case Site::kO:
    case Site::kDown:
      break;
  }
  return base.width;
}

struct Address {
  int layer = 0;
  int site = 0;
  std::string rest;  // behind the module's path
};

[[noreturn]] void refuse(const AdapterFile& file, const std::string& tensor,
                         const std::string& fault) {
  throw Error(ErrorCode::kInvalidAdapter, file.tensors_path + ": " + tensor + ": " + fault);
}

Address parse_name(const AdapterFile& file, const ModelConfig& base, const std::string& name) {
  std::string_view text = name;
  const auto skip = [&text](std::string_view part) {
    const bool found = text.starts_with(part);
    if (found) text.remove_prefix(part.size());
    return found;
  };
  Address address;
  if (skip(kPrefix) && skip(kLayers)) {
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), address.layer);
    if (parsed.ec == std::errc() && address.layer >= 0) {
      text.remove_prefix(parsed.ptr - text.data());
      for (address.site = 0; address.site < kSites; ++address.site) {
        if (!skip("." + std::string(kModules[address.site]) + ".")) continue;
        if (address.layer >= base.layers) {
          refuse(file, name, "the base has layers 0 to " + std::to_string(base.layers - 1));
        }
        address.rest = text;
        return address;
      }
    }
  }
  refuse(file, name,
         "nothing reads this tensor; adapted linears are base_model.model.model.layers.N. "
         "self_attn.{q,k,v,o}_proj and mlp.{gate,up,down}_proj");
}

// Returns the first value that is not finite as bfloat16, -1 = all are.
int64_t check_values(const AdapterFile& file, const FileTensor& tensor,
                     std::vector<std::byte>& buffer) {
  if (tensor.dtype != DType::kF32 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kBF16) {
    refuse(file, tensor.name,
           std::string("is ") + dtype_info(tensor.dtype).name + ", expected F32, F16 or BF16");
  }
  const size_t value_bytes = row_bytes(tensor.dtype, 1);
  int64_t beyond = -1;
  for (size_t at = 0; at < tensor.bytes(); at += buffer.size()) {
    const size_t bytes = std::min(buffer.size(), tensor.bytes() - at);
    file.reader->read(tensor.offset + at, bytes, buffer.data());
    const auto first = static_cast<int64_t>(at / value_bytes);
    const auto count = static_cast<int64_t>(bytes / value_bytes);
    const int64_t bad = first_non_finite(tensor.dtype, buffer.data(), count);
    if (bad >= 0) {
      refuse(file, tensor.name, "value " + std::to_string(first + bad) + " is not a finite number");
    }
    if (beyond >= 0 || tensor.dtype != DType::kF32) continue;
    const int64_t large = first_beyond_bfloat16(buffer.data(), count);
    if (large >= 0) beyond = first + large;
  }
  return beyond;
}

using SiteMap = std::map<std::pair<int, int>, SiteTensors>;  // by layer and site

SiteMap sort_by_site(const AdapterFile& file, const ModelConfig& base,
                     const CheckProgress& progress) {
  SiteMap sites;
  double total = 0;
  for (const FileTensor& tensor : file.tensors) total += static_cast<double>(tensor.elements());
  double checked = 0;
  std::vector<std::byte> buffer(kReadAtOnce);
  for (const FileTensor& tensor : file.tensors) {
    const int64_t beyond = check_values(file, tensor, buffer);
    checked += static_cast<double>(tensor.elements());
    if (progress && total > 0) progress(checked / total);
    Address address = parse_name(file, base, tensor.name);
    const auto key = std::make_pair(address.layer, address.site);
    auto found = sites.find(key);
    if (found == sites.end()) {
      const auto site = static_cast<Site>(address.site);
      const std::string module = module_path(address.layer, site);
      found = sites.emplace(key, SiteTensors(file, module, address.layer, site)).first;
    }
    found->second.add(address.rest, tensor, beyond);
  }
  if (sites.empty()) {
    throw Error(ErrorCode::kInvalidAdapter, file.tensors_path + ": holds no adapter tensor");
  }
  return sites;
}

// Both directions: a linear that target_modules names must be in the file, and no other.
void check_targets(const AdapterFile& file, const ModelConfig& base, const SiteMap& sites,
                   const TargetModules& targets) {
  if (!file.whole || !targets.known()) return;
  for (int layer = 0; layer < base.layers; ++layer) {
    for (int site = 0; site < kSites; ++site) {
      const std::string module = module_path(layer, static_cast<Site>(site));
      const bool stored = sites.contains({layer, site});
      if (targets.matches(module, layer) == stored) continue;
      refuse(file, std::string(kPrefix) + module,
             !stored ? "has no tensors, but target_modules names it"
             : targets.lists_layer(layer)
                 ? "has tensors, but target_modules does not name it"
                 : "has tensors, but layers_to_transform does not list its layer");
    }
  }
}

void number_pages(AdapterPlan& plan, bool shared_pool) {
  for (size_t i = 0; i < plan.sites.size(); ++i) {
    SitePlan& site = plan.sites[i];
    site.first_page = static_cast<int>(plan.pages.size());
    for (size_t l = 0; l < site.slots.levels.size(); ++l) {
      LevelSlots& level = site.slots.levels[l];
      if (shared_pool && l > 0) {
        level.first_page = site.slots.levels[0].first_page;
        continue;
      }
      level.first_page = static_cast<int>(plan.pages.size());
      for (int e = 0; e < site.mixture.levels[l].experts; ++e) {
        plan.pages.push_back({static_cast<int>(i), static_cast<int>(l), e});
        plan.info.bytes += level.page_bytes;
      }
    }
    site.pages = static_cast<int>(plan.pages.size()) - site.first_page;
  }
}

}  // namespace

std::string module_path(int layer, Site site) {
  return std::string(kLayers) + std::to_string(layer) + "." + kModules[static_cast<int>(site)];
}

const char* linear_name(Site site) {
  return std::strchr(kModules[static_cast<int>(site)], '.') + 1;
}

AdapterPlan plan_adapter(const AdapterFile& file, const ModelConfig& base, ExpertType type,
                         const CheckProgress& progress) {
  const AdapterConfig config = parse_adapter_config(file.config, file.where);
  const auto* smore = std::get_if<SmoreConfig>(&config.kind);
  SiteMap sites = sort_by_site(file, base, progress);

  AdapterPlan plan;
  plan.path = file.tensors_path;
  plan.reader = file.reader;
  plan.info.kind = smore != nullptr ? "smore" : "lora";
  std::array<int, kSites> none;
  none.fill(-1);
  plan.site_index.assign(base.layers, none);
  BlockLayout trunk;
  for (auto& [address, tensors] : sites) {
    SitePlan& site = plan.sites.emplace_back();
    site.layer = tensors.layer();
    site.site = tensors.site();
    site.mixture.inputs = inputs_of(base, site.site);
    site.mixture.outputs = outputs_of(base, site.site);
    plan.site_index[site.layer][address.second] = static_cast<int>(plan.sites.size()) - 1;
    SiteBuilder builder{tensors, trunk, type, site};
    const size_t before = trunk.bytes();
    if (smore != nullptr) {
      build_smore_site(builder, *smore);
    } else {
      build_lora_site(builder, std::get<LoraConfig>(config.kind));
    }
    site.trunk_bytes = trunk.bytes() - before;
    tensors.refuse_unread();
    plan.info.parameters += tensors.parameters();
    plan.info.levels = std::max(plan.info.levels, static_cast<int>(site.mixture.levels.size()));
    plan.info.linears.push_back({site.layer, site.site});
  }
  // After the shapes: an adapter of a base of another size has other shapes and, mostly, other
  // layers.
  check_targets(file, base, sites, config.targets);
  plan.trunk_bytes = trunk.bytes();
  number_pages(plan, smore != nullptr && smore->shared_pool);
  plan.info.trunk_bytes = plan.trunk_bytes;
  plan.info.bytes += plan.trunk_bytes;
  plan.info.sites = static_cast<int>(plan.sites.size());
  plan.info.pages = static_cast<int>(plan.pages.size());
  for (const Level& level : plan.sites.front().mixture.levels) {
    if (smore != nullptr) plan.info.tree.push_back({level.experts, level.chosen});
  }
  return plan;
}

}  // namespace smore
