#include <cmath>
#include <string>

#include "residual/site_tensors.h"

namespace smore {

// Plain LoRA is a sum over one expert whose score is given.
void build_lora_site(SiteBuilder& builder, const LoraConfig& config) {
  SiteTensors& tensors = builder.tensors;
  Mixture& mixture = builder.plan.mixture;
  const std::string& module = tensors.module();
  const int rank = value_by_pattern(config.rank_pattern, module, config.rank);
  const double alpha = value_by_pattern(config.alpha_pattern, module, config.alpha);

  const std::string a_name = "lora_A.weight";
  const FileTensor& a = tensors.view(a_name);
  if (a.rank == 2 && a.shape[0] != rank) {
    tensors.refuse(a_name, "has rank " + std::to_string(a.shape[0]) + " where r or rank_pattern " +
                               "gives " + std::to_string(rank));
  }
  Level level;
  level.experts = 1;
  level.chosen = 1;
  level.rank = rank;
  level.width = mixture.outputs;
  level.scale = static_cast<float>(alpha / (config.rank_stabilized ? std::sqrt(rank) : rank));
  level.pairs = 1;

  LevelSources from;
  LevelSlots to;
  BlockLayout page;
  from.a = tensors.take_weights(a_name, {rank, mixture.inputs}, builder.type);
  from.b = tensors.take_weights("lora_B.weight", {mixture.outputs, rank}, builder.type);
  to.a = page.weights(builder.type, from.a.dtype, rank, mixture.inputs, false);
  to.b = page.weights(builder.type, from.b.dtype, mixture.outputs, rank, true);
  if (config.biased) {
    from.b_bias = tensors.take("lora_B.bias", {mixture.outputs});
    to.b_bias = page.floats(mixture.outputs);
  }
  to.page_bytes = page.bytes();

  mixture.combine = Combine::kSum;
  mixture.levels.push_back(level);
  builder.plan.sources.levels.push_back(from);
  builder.plan.slots.levels.push_back(to);
}

}  // namespace smore
