#include <cmath>
#include <string>
#include <vector>

#include "residual/site_tensors.h"

namespace smore {
namespace {

// More chosen (node, child) pairs per token than this are a mistake in the configuration.
constexpr int64_t kMostPairs = 1 << 16;

std::string at_level(const char* name, int l) { return name + ("." + std::to_string(l)); }

class SmoreBuilder {
 public:
  SmoreBuilder(SiteBuilder& builder, const SmoreConfig& config)
      : tensors_(builder.tensors),
        trunk_(builder.trunk),
        builder_(builder),
        config_(config),
        mixture_(builder.plan.mixture),
        slots_(builder.plan.slots),
        sources_(builder.plan.sources) {}

  void build() {
    const int levels = config_.levels();
    mixture_.combine = config_.combine;
    mixture_.levels.resize(levels);
    slots_.levels.resize(levels);
    sources_.levels.resize(levels);
    check_level_count();
    for (int l = 0; l < levels; ++l) experts(l);
    if (config_.shared_pool) check_shared_pool();
    projection();
    int inputs = mixture_.projection;
    int64_t pairs = 1;
    for (int l = levels - 1; l >= 0; --l) {
      router(l, inputs);
      inputs += mixture_.levels[l].router.keys;
      pairs *= mixture_.levels[l].chosen;
      if (pairs > kMostPairs) {
        tensors_.refuse(at_level("moe_A", l), "the tree chooses more than " +
                                                  std::to_string(kMostPairs) +
                                                  " experts per token (num_active)");
      }
      mixture_.levels[l].pairs = pairs;
    }
    place_routers();
    for (int l = 1; l < levels; ++l) place_w(l);
    place_final();
  }

 private:
  void check_level_count() const {
    int stored = 0;
    while (tensors_.has(at_level("moe_A", stored))) ++stored;
    if (stored == config_.levels() || stored == 0) return;
    tensors_.refuse(at_level("moe_A", stored - 1), "is the last of " + std::to_string(stored) +
                                                       " levels, but num_experts lists " +
                                                       std::to_string(config_.levels()));
  }

  void experts(int l) {
    Level& level = mixture_.levels[l];
    LevelSources& from = sources_.levels[l];
    const std::string a_name = at_level("moe_A", l);
    const FileTensor& a = tensors_.view(a_name);
    if (a.rank != 3)
      tensors_.refuse(a_name, "has shape " + shape_text(a) + ", expected [s, r, in]");
    compare(a_name, a.shape[0], config_.experts[l], "num_experts", l);
    compare(a_name, a.shape[1], config_.ranks[l], "expert_dims", l);
    const int s = config_.experts[l];
    const int r = config_.ranks[l];
    level.experts = s;
    level.rank = r;
    level.chosen = config_.gate_type == GateType::kDense ? s : config_.active[l];
    const Level& first = mixture_.levels[0];
    if (config_.shared_pool) {
      if (s != first.experts) compare(a_name, s, first.experts, "a shared pool: num_experts", 0);
      if (r != first.rank) compare(a_name, r, first.rank, "a shared pool: expert_dims", 0);
      level.width = s * r;
    } else {
      level.width = (l == 0 ? 0 : mixture_.levels[l - 1].width) + s * r;
    }
    level.scale = config_.alpha.empty() ? 1 : static_cast<float>(config_.alpha[l] / r);
    level.activation = activation(config_.expert_curve, at_level("moe_expert_act_param", l));
    from.a = tensors_.take_weights(a_name, {s, r, mixture_.inputs}, builder_.type);
    from.a_bias = tensors_.take(at_level("moe_A_bias", l), {s, r});
    from.b = tensors_.take_weights(at_level("moe_B", l), {s, level.width, r}, builder_.type);
    from.b_bias = tensors_.take(at_level("moe_B_bias", l), {s, level.width});
    BlockLayout page;
    LevelSlots& to = slots_.levels[l];
    to.a = page.weights(builder_.type, from.a.dtype, r, mixture_.inputs, false);
    to.a_bias = page.floats(r);
    to.b = page.weights(builder_.type, from.b.dtype, level.width, r, true);
    to.b_bias = page.floats(level.width);
    to.page_bytes = page.bytes();
  }

  void compare(const std::string& name, int64_t stored, int64_t wanted, const char* field,
               int l) const {
    if (stored == wanted) return;
    tensors_.refuse(name, "has " + std::to_string(stored) + " where " + field + "[" +
                              std::to_string(l) + "] is " + std::to_string(wanted));
  }

  // The file holds one copy per level; a copy that differs would be trained weights thrown away.
  void check_shared_pool() {
    for (const char* name : {"moe_A", "moe_A_bias", "moe_B", "moe_B_bias"}) {
      const FileTensor& first = tensors_.view(at_level(name, 0));
      for (int l = 1; l < config_.levels(); ++l) {
        const FileTensor& copy = tensors_.view(at_level(name, l));
        if (tensors_.same_bytes(copy, first)) continue;
        tensors_.refuse(at_level(name, l), std::string("differs from ") + name +
                                               ".0, but is_shared_expert_pool says that they are "
                                               "one");
      }
    }
  }

  Nonlinearity activation(Curve curve, const std::string& slope_name) {
    Nonlinearity result{curve, 0};
    if (curve == Curve::kPrelu) result.slope = tensors_.scalar(slope_name);
    return result;
  }

  void projection() {
    const int u = config_.projection > 0 ? config_.projection : mixture_.inputs;
    mixture_.projection = u;
    sources_.projection = tensors_.take("moe_downproj_x.weight", {u, mixture_.inputs});
    sources_.projection_bias = tensors_.take("moe_downproj_x.bias", {u});
    // As stored, since it is computed in float32 all the same.
    slots_.projection = trunk_.matrix(sources_.projection.dtype, u, mixture_.inputs);
    slots_.projection_bias = trunk_.floats(u);
  }

  void router(int l, int inputs) {
    Level& level = mixture_.levels[l];
    Router& router = level.router;
    LevelSources& from = sources_.levels[l];
    const std::string gate = at_level("moe_gate", l) + ".";
    const bool noisy = config_.gate_type == GateType::kNoisyTopK;
    router.inputs = inputs;
    router.score = noisy ? Score::kCosine : Score::kSoftmax;
    router.select = config_.gate_type == GateType::kDense ? Select::kAll : Select::kTopK;
    if (router.select == Select::kTopK && level.chosen > 1) {
      router.norm = noisy ? Norm::kSoftmax : Norm::kSum;
    }
    // noisy_topk always has the two-layer router, also where gate_arch says "linear".
    router.two_layer = noisy || config_.gate_mlp || tensors_.has(gate + "mlp.0.weight");
    if (router.two_layer) {
      const int g = config_.gate_dims[l];
      router.hidden = g;
      router.keys = g;
      from.first = tensors_.take(gate + "mlp.0.weight", {g, inputs});
      from.first_bias = tensors_.take(gate + "mlp.0.bias", {g});
      router.activation = activation(config_.gate_curve, gate + "mlp.1.weight");
      from.second = tensors_.take(gate + "mlp.2.weight", {g, g});
      from.second_bias = tensors_.take(gate + "mlp.2.bias", {g});
    } else {
      router.keys = inputs;
    }
    from.keys = tensors_.take(gate + "keys", {level.experts, router.keys});
    if (noisy) tensors_.ignore(gate + "weight_noise.weight");
  }

  void place_routers() {
    const int levels = config_.levels();
    for (int l = 0; l < levels; ++l) {
      const Level& level = mixture_.levels[l];
      RouterSlots& to = slots_.levels[l].router;
      to.rows = level.router.two_layer ? level.router.hidden : level.experts;
      to.first_row = slots_.router_rows;
      slots_.router_rows += to.rows;
      for (int m = levels - 1; m > l; --m) {
        to.tables.push_back(trunk_.floats(int64_t{mixture_.levels[m].experts} * to.rows));
      }
      if (!level.router.two_layer) continue;
      const bool cosine = level.router.score == Score::kCosine;
      const int outputs = cosine ? level.router.keys : level.experts;
      to.second = trunk_.matrix(DType::kF32, outputs, level.router.hidden);
      to.second_bias = trunk_.floats(outputs);
      if (cosine) to.keys = trunk_.matrix(DType::kF32, level.experts, level.router.keys);
    }
    slots_.routers = trunk_.matrix(DType::kF32, slots_.router_rows, mixture_.projection);
    slots_.router_bias = trunk_.floats(slots_.router_rows);
  }

  void place_w(int l) {
    const int outputs = mixture_.levels[l].width;
    const int inputs = mixture_.levels[l - 1].width;
    LevelSources& from = sources_.levels[l];
    from.w = tensors_.take_weights(at_level("moe_W", l), {outputs, inputs}, builder_.type);
    from.w_bias = tensors_.take(at_level("moe_W_bias", l), {outputs});
    slots_.levels[l].w = trunk_.weights(builder_.type, from.w.dtype, outputs, inputs, true);
    slots_.levels[l].w_bias = trunk_.floats(outputs);
  }

  void place_final() {
    const int width = mixture_.root().width;
    sources_.final_w =
        tensors_.take_weights("moe_W_final", {mixture_.outputs, width}, builder_.type);
    sources_.final_bias = tensors_.take("moe_W_final_bias", {mixture_.outputs});
    slots_.final_w =
        trunk_.weights(builder_.type, sources_.final_w.dtype, mixture_.outputs, width, true);
    slots_.final_bias = trunk_.floats(mixture_.outputs);
  }

  SiteTensors& tensors_;
  BlockLayout& trunk_;
  SiteBuilder& builder_;
  const SmoreConfig& config_;
  Mixture& mixture_;
  SiteSlots& slots_;
  SiteSources& sources_;
};

}  // namespace

void build_smore_site(SiteBuilder& builder, const SmoreConfig& config) {
  SmoreBuilder(builder, config).build();
}

}  // namespace smore
