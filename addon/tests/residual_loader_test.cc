#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "model/source.h"
#include "residual/weights.h"
#include "tests/refusal.h"
#include "tests/temp_model.h"

namespace smore {
namespace {

constexpr const char* kSmore = "tiny-llama-smore/tied/adapters/smore-switch";
constexpr const char* kNoisy = "tiny-llama-smore/tied/adapters/smore-noisy";
constexpr const char* kShared = "tiny-llama-smore/untied/adapters/smore-dense-shared";
constexpr const char* kLora = "tiny-llama-smore/tied/adapters/lora";
constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapter_model.safetensors";
const std::string kUp = "base_model.model.model.layers.0.mlp.up_proj.";

const ModelConfig& tied_base() {
  static const ModelConfig config =
      open_model(SMORE_FIXTURES "/tiny-llama-smore/tied/model").config;
  return config;
}

AdapterPlan plan(const TempFolder& folder, const ModelConfig& base = tied_base()) {
  return plan_adapter(open_adapter_folder(folder.path()), base, ExpertType::kStored);
}

void check_plan_refused(const TempFolder& folder, const std::string& part,
                        ErrorCode code = ErrorCode::kInvalidAdapter) {
  check_refused(code, part, [&] { plan(folder); });
}

// The adapter with one edit of its configuration.
void check_config_refused(const char* fixture, const std::string& from, const std::string& to,
                          const std::string& part, ErrorCode code = ErrorCode::kInvalidAdapter) {
  const TempFolder folder(fixture);
  folder.edit(kConfig, from, to);
  check_plan_refused(folder, part, code);
}

// The adapter with one change of its tensors.
template <class Change>
void check_tensors_refused(const char* fixture, const std::string& part, Change&& change) {
  const TempFolder folder(fixture);
  folder.edit_tensors(kTensors, change);
  check_plan_refused(folder, part);
}

TensorView& find(std::vector<TensorView>& tensors, const std::string& name) {
  for (TensorView& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  FAIL("no tensor ", name);
  return tensors[0];
}

}  // namespace

TEST_CASE("registration tells shape and size of an adapter") {
  const TempFolder folder(kSmore);
  const AdapterPlan smore = plan(folder);
  CHECK(smore.info.kind == "smore");
  CHECK(smore.info.sites == 6);
  CHECK(smore.info.levels == 2);
  CHECK(smore.info.pages == 6 * (4 + 2));
  CHECK(smore.info.bytes > smore.trunk_bytes);
  CHECK(smore.find(0, Site::kUp) != nullptr);
  CHECK(smore.find(0, Site::kQ) == nullptr);

  const TempFolder lora_folder(kLora);
  const AdapterPlan lora = plan(lora_folder);
  CHECK(lora.info.kind == "lora");
  CHECK(lora.info.sites == 14);
  CHECK(lora.info.pages == 14);
  CHECK(lora.trunk_bytes == 0);
}

TEST_CASE("the levels of a shared pool have the same pages") {
  const TempFolder folder(kShared);
  const ModelConfig base = open_model(SMORE_FIXTURES "/tiny-llama-smore/untied/model").config;
  const AdapterPlan shared = plan(folder, base);
  CHECK(shared.info.pages == shared.info.sites * 3);
  const SiteSlots& slots = shared.sites[0].slots;
  CHECK(slots.levels[1].first_page == slots.levels[0].first_page);
}

TEST_CASE("an adapter folder that lacks a file says which, and what is to be made of a pickle") {
  const TempFolder folder(kSmore);
  std::filesystem::rename(folder.file(kTensors), folder.file("adapter_model.bin"));
  check_plan_refused(folder, "make adapter_model.safetensors of it");
  std::filesystem::remove(folder.file("adapter_model.bin"));
  check_plan_refused(folder, "adapter_model.safetensors: missing");
  std::filesystem::remove(folder.file(kConfig));
  check_plan_refused(folder, "adapter_config.json: missing");
  check_refused(ErrorCode::kInvalidAdapter, "not a folder",
                [] { open_adapter_folder("/nowhere/at/all"); });
}

TEST_CASE("a S'MoRE configuration that is unknown or contradicts itself is refused by field") {
  const auto refused = [](const char* from, const char* to, const char* part) {
    check_config_refused(kSmore, from, to, part);
  };
  refused("\"moe_arch\": \"smore\"", "\"moe_arch\": \"llama_moe\"", "moe_arch");
  refused("\"gate_type\": \"switch\"", "\"gate_type\": \"top_p\"", "gate_type");
  refused("\"gate_arch\": \"mlp\"", "\"gate_arch\": \"bottom_up\"", "gate_arch");
  refused("\"expert_act_fn\": \"tanh\"", "\"expert_act_fn\": \"gelu\"", "expert_act_fn");
  refused("\"expert_act_fn\": \"tanh\"", "\"expert_act_fn\": \"prelu\"", "prelu|V");
  refused("\"expert_act_fn\": \"tanh\"", "\"expert_act_fn\": \"prelu|x\"", "prelu|V");
  refused("\"gate_act_fn\": \"relu\"", "\"gate_act_fn\": \"silu\"", "gate_act_fn");
  refused("\"activation_position\": \"all\"", "\"activation_position\": \"root\"",
          "activation_position");
  refused("\"num_active\": [\n    2,\n    1", "\"num_active\": [\n    5,\n    1",
          "num_active: chooses 5 of 4 experts at level 0");
  refused("\"num_active\": [\n    2,\n    1", "\"num_active\": [\n    0,\n    1", "num_active");
  refused("\"num_active\": [\n    2,\n    1", "\"num_active\": [\n    2", "num_active: has 1");
  refused("\"lora_alpha\": null", "\"lora_alpha\": [8]", "lora_alpha: has 1 entries for 2 levels");
  refused("\"peft_type\": \"HIER_MOE\",", "", "peft_type");
}

TEST_CASE("settings that would change the result and are not computed are refused by field") {
  const auto refused = [](const char* fixture, const char* from, const char* to, const char* part) {
    check_config_refused(fixture, from, to, part, ErrorCode::kUnsupported);
  };
  refused(kSmore, "\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]",
          "modules_to_save");
  refused(kSmore, "\"modules_to_save\": null", "\"activation_postion\": \"all\"",
          "activation_postion");
  refused(kSmore, "\"HIER_MOE\"", "\"ADALORA\"", "peft_type: is 'ADALORA'");
  refused(kLora, "\"use_dora\": false", "\"use_dora\": true", "use_dora");
  refused(kLora, "\"modules_to_save\": null", "\"modules_to_save\": [\"lm_head\"]",
          "modules_to_save");
  refused(kLora, "\"bias\": \"none\"", "\"bias\": \"all\"", "bias: is 'all'");
  refused(kLora, "\"target_parameters\": null", "\"target_parameters\": [\"x\"]",
          "target_parameters");
  refused(kLora, "\"alora_invocation_tokens\": null", "\"alora_invocation_tokens\": [1]",
          "alora_invocation_tokens");
  refused(kLora, "\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"",
          "init_lora_weights");
  refused(kLora, "\"r\": 6", "\"r\": [6, 6]", "r: is a list");
  refused(kLora, "\"r\": 6", "\"r\": 6, \"lora_nums\": 4", "lora_nums");
}

TEST_CASE("tensors that disagree with the configuration are refused by tensor") {
  const auto refused = [](const char* from, const char* to, const char* part) {
    check_config_refused(kSmore, from, to, part);
  };
  refused("\"num_experts\": [\n    4,", "\"num_experts\": [\n    3,",
          "moe_A.0: has 4 where num_experts[0] is 3");
  refused("\"expert_dims\": [\n    4,", "\"expert_dims\": [\n    5,",
          "moe_A.0: has 4 where expert_dims[0] is 5");
  refused("\"dim_downproj_x\": 16", "\"dim_downproj_x\": 8",
          "moe_downproj_x.weight: has shape [16, 64], expected [8, 64]");
  refused("\"dim_downproj_x\": 16,", "", "expected [32, 64]");
  refused("\"gate_dims\": [\n    8,", "\"gate_dims\": [\n    9,", "moe_gate.0.mlp.0.weight");
  refused("\"gate_act_fn\": \"relu\"", "\"gate_act_fn\": \"prelu|0.1\"",
          "moe_gate.1.mlp.1.weight: missing");
  refused("\"expert_act_fn\": \"tanh\"", "\"expert_act_fn\": \"prelu|0.1\"",
          "moe_expert_act_param.0: missing");
  check_config_refused(kLora, "\"r\": 6", "\"r\": 5",
                       "lora_A.weight: has rank 6 where r or rank_pattern gives 5");
  check_config_refused(kLora, "\"rank_pattern\": {}", "\"rank_pattern\": {\"v_proj\": 2}",
                       "self_attn.v_proj.lora_A.weight: has rank 6");
  check_config_refused(kLora, "\"lora_bias\": false", "\"lora_bias\": true",
                       "lora_B.bias: missing");
  check_config_refused(kLora, "\"rank_pattern\": {}", "\"rank_pattern\": {\"(\": 2}",
                       "rank_pattern: has the pattern '(', which has a '(' without its ')'");
}

TEST_CASE("patterns of modules are refused by field, whatever they would cost") {
  const auto refused = [](const char* from, const std::string& to, const char* part) {
    check_config_refused(kLora, from, to, part);
  };
  const std::string deep = std::string(500, '(') + "a" + std::string(500, ')');
  const std::string field = "\"exclude_modules\": ";
  refused("\"exclude_modules\": null", field + "\"" + deep + "\"",
          "exclude_modules: is the pattern '(((");
  refused("\"exclude_modules\": null", field + "\"(?!a)\"", "only ( ) and (?: ) are understood");
  refused("\"alpha_pattern\": {}", "\"alpha_pattern\": {\"a**\": 2}",
          "alpha_pattern: has the pattern 'a**', which repeats a repetition");
  std::string many;
  for (int i = 0; i < 40; ++i)
    many += (i ? ", " : "") + ("\"a{4000}" + std::to_string(i) + "\": 2");
  refused("\"rank_pattern\": {}", "\"rank_pattern\": {" + many + "}", "too many patterns");
}

TEST_CASE("a pattern that backtracking would never finish is compared with every module") {
  const TempFolder folder(kLora);
  folder.edit(kConfig, "\"exclude_modules\": null", "\"exclude_modules\": \"((.*)*)*Z\"");
  CHECK_NOTHROW(plan(folder));
}

TEST_CASE("tensors that are missing, misshapen, unread or of another kind are refused by name") {
  using Tensors = std::vector<TensorView>;
  check_tensors_refused(kSmore, kUp + "moe_W.1: missing", [](Tensors& tensors) {
    std::erase_if(tensors, [](const TensorView& t) { return t.name == kUp + "moe_W.1"; });
  });
  check_tensors_refused(kSmore, kUp + "moe_C.0: nothing reads this tensor", [](Tensors& tensors) {
    tensors.push_back(find(tensors, kUp + "moe_A.0"));
    tensors.back().name = kUp + "moe_C.0";
  });
  check_tensors_refused(kSmore, "moe_A.2: is the last of 3 levels", [](Tensors& tensors) {
    tensors.push_back(find(tensors, kUp + "moe_A.0"));
    tensors.back().name = kUp + "moe_A.2";
  });
  check_tensors_refused(kSmore, "lm_head.weight: nothing reads this tensor", [](Tensors& tensors) {
    tensors.push_back(find(tensors, kUp + "moe_A.0"));
    tensors.back().name = "base_model.model.lm_head.weight";
  });
  check_tensors_refused(kSmore, "the base has layers 0 to 1", [](Tensors& tensors) {
    tensors.push_back(find(tensors, kUp + "moe_A.0"));
    tensors.back().name = "base_model.model.model.layers.2.mlp.up_proj.moe_A.0";
  });
  check_tensors_refused(
      kSmore, "has no tensors, but target_modules names it", [](Tensors& tensors) {
        std::erase_if(tensors,
                      [](const TensorView& tensor) { return tensor.name.starts_with(kUp); });
      });
  check_tensors_refused(kSmore, kUp + "moe_W_final_bias: has shape", [](Tensors& tensors) {
    TensorView& bias = find(tensors, kUp + "moe_W_final_bias");
    bias.shape[0] -= 1;
  });
  check_tensors_refused(kSmore, "expected F32, F16 or BF16", [](Tensors& tensors) {
    find(tensors, kUp + "moe_A.0").dtype = DType::kI32;
  });
  check_tensors_refused(kLora, "lora_magnitude_vector: nothing reads", [](Tensors& tensors) {
    const std::string prefix = "base_model.model.model.layers.0.self_attn.q_proj.";
    tensors.push_back(find(tensors, prefix + "lora_A.weight"));
    tensors.back().name = prefix + "lora_magnitude_vector";
  });
  check_config_refused(kLora, "\"q_proj\",", "", "has tensors, but target_modules does not name");
  check_config_refused(kLora, "\"layers_to_transform\": null", "\"layers_to_transform\": [1]",
                       "layers.0.self_attn.q_proj: has tensors, but layers_to_transform does not");
}

TEST_CASE("an adapter of another width is refused") {
  const TempFolder folder(kSmore);
  ModelConfig wider = tied_base();
  wider.width *= 2;
  check_refused(ErrorCode::kInvalidAdapter, "has shape [4, 4, 64], expected [4, 4, 128]",
                [&] { plan(folder, wider); });
  // More layers than the adapter knows say less of what is wrong than the width.
  wider.layers *= 2;
  check_refused(ErrorCode::kInvalidAdapter, "has shape [4, 4, 64], expected [4, 4, 128]",
                [&] { plan(folder, wider); });
}

TEST_CASE("weights that are not finite are refused by tensor and place") {
  const TempFolder folder(kSmore);
  folder.poke(kTensors, kUp + "moe_B.1", 4 * 7, std::numeric_limits<float>::quiet_NaN());
  check_plan_refused(folder, kUp + "moe_B.1: value 7 is not a finite number");
}

TEST_CASE(
    "weights that are finite in the file but not as bfloat16 are refused by tensor and place") {
  const float beyond = std::bit_cast<float>(0x7f7f8000);
  const auto plan_as = [](const TempFolder& folder, ExpertType type) {
    return plan_adapter(open_adapter_folder(folder.path()), tied_base(), type);
  };
  for (const char* name : {"moe_A.0", "moe_B.1", "moe_W.1", "moe_W_final"}) {
    CAPTURE(name);
    const TempFolder folder(kSmore);
    folder.poke(kTensors, kUp + name, 4 * 5, -std::nextafter(beyond, 0.0f));
    CHECK_NOTHROW(plan_as(folder, ExpertType::kBf16));
    folder.poke(kTensors, kUp + name, 4 * 5, -beyond);
    check_refused(ErrorCode::kInvalidAdapter,
                  folder.file(kTensors) + ": " + kUp + name +
                      ": value 5 is too large for bfloat16; serve it without --adapter-dtype bf16",
                  [&] { plan_as(folder, ExpertType::kBf16); });
    CHECK_NOTHROW(plan_as(folder, ExpertType::kStored));
    CHECK_NOTHROW(plan_as(folder, ExpertType::kInt8));
  }
  for (const char* name : {"lora_A.weight", "lora_B.weight"}) {
    const TempFolder folder(kLora);
    folder.poke(kTensors, "base_model.model.model.layers.0.self_attn.q_proj." + std::string(name),
                0, beyond);
    check_refused(ErrorCode::kInvalidAdapter, std::string(name) + ": value 0 is too large for",
                  [&] { plan_as(folder, ExpertType::kBf16); });
  }
  // Float32 whatever experts are.
  for (const char* name : {"moe_B_bias.1", "moe_downproj_x.weight", "moe_gate.0.keys"}) {
    const TempFolder folder(kSmore);
    folder.poke(kTensors, kUp + name, 0, beyond);
    CHECK_NOTHROW(plan_as(folder, ExpertType::kBf16));
  }
}

TEST_CASE("routers whose products are not finite are refused when they are loaded") {
  const TempFolder folder(kSmore);
  for (const char* name : {"moe_gate.1.keys", "moe_gate.1.mlp.2.weight"}) {
    folder.poke(kTensors, kUp + name, 0, 1e30f);
  }
  const AdapterPlan all = plan(folder);
  std::vector<std::byte> block(all.trunk_bytes);
  check_refused(ErrorCode::kInvalidAdapter,
                folder.file(kTensors) +
                    ": model.layers.0.mlp.up_proj: products of its routers' "
                    "weights are too large for float32",
                [&] { load_trunk(all, block.data()); });
}

TEST_CASE("the copies of a shared pool must be one") {
  const TempFolder folder(kShared);
  const ModelConfig base = open_model(SMORE_FIXTURES "/tiny-llama-smore/untied/model").config;
  folder.poke(kTensors, kUp + "moe_A.1", 0, 0.125f);
  check_refused(ErrorCode::kInvalidAdapter, kUp + "moe_A.1: differs from moe_A.0",
                [&] { plan(folder, base); });
}

TEST_CASE("noisy_topk needs its two-layer router whatever gate_arch says") {
  const TempFolder folder(kNoisy);
  folder.edit(kConfig, "\"gate_arch\": \"mlp\"", "\"gate_arch\": \"linear\"");
  CHECK_NOTHROW(plan(folder));
  folder.edit_tensors(kTensors, [](std::vector<TensorView>& tensors) {
    std::erase_if(tensors, [](const TensorView& tensor) {
      return tensor.name == kUp + "moe_gate.1.mlp.0.weight";
    });
  });
  check_plan_refused(folder, kUp + "moe_gate.1.mlp.0.weight: missing");
}

TEST_CASE("a truncated or damaged file is refused with its name") {
  const TempFolder folder(kSmore);
  std::filesystem::resize_file(folder.file(kTensors), 1000);
  check_plan_refused(folder, kTensors, ErrorCode::kInvalidFile);
  folder.write(kConfig, "{\"peft_type\": ");
  check_plan_refused(folder, kConfig, ErrorCode::kInvalidFile);
}

TEST_CASE("adapters leave a quarter of the files that may be open to connections") {
  const std::string folder = std::string(SMORE_FIXTURES "/") + kLora;
  struct rlimit limit {};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  const struct rlimit few {
    64, limit.rlim_max
  };
  const auto in_use = [](int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; };
  REQUIRE(!in_use(48));
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  std::vector<AdapterFile> open;
  check_refused(ErrorCode::kIo, "48 of the 64 files that the process may have open are in use",
                [&] {
                  while (true) open.push_back(open_adapter_folder(folder));
                });
  ::setrlimit(RLIMIT_NOFILE, &limit);
  CHECK(in_use(47));
  CHECK(!in_use(48));
  open.clear();
  open_adapter_folder(folder);
}

}  // namespace smore
