// Times the adapters' share of decode steps at SmolLM2-135M's sizes, with random weights in
// bfloat16: a S'MoRE tree (4/4 experts, 2/2 active, rank 8) on gate, up and down, and LoRA of rank
// 16 on seven linears; all streams on one adapter, and each on its own.   adapter_bench [THREADS=2]
// [STREAMS=1,4,16]

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "core/error.h"
#include "residual/adapters.h"

namespace smore {
namespace {

ModelConfig smollm2() {
  ModelConfig base;
  base.layers = 30;
  base.width = 576;
  base.ffn_width = 1536;
  base.heads = 9;
  base.kv_heads = 3;
  base.head_dim = 64;
  return base;
}

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A file of tensors in bfloat16 with small random values.
class RandomTensors {
 public:
  void add(const std::string& name, const std::vector<int>& shape) {
    int64_t count = 1;
    std::string dims;
    for (int n : shape) {
      count *= n;
      dims += (dims.empty() ? "" : ",") + std::to_string(n);
    }
    header_ += (header_.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"BF16","shape":[)" + dims +
               R"(],"data_offsets":[)" + std::to_string(2 * values_.size()) + "," +
               std::to_string(2 * (values_.size() + count)) + "]}";
    std::normal_distribution<float> normal(0, 0.05f);
    for (int64_t i = 0; i < count; ++i) values_.push_back(float_to_bfloat16(normal(random_)));
  }

  void write(const std::string& folder, const std::string& config) const {
    std::filesystem::create_directories(folder);
    std::ofstream(folder + "/adapter_config.json") << config;
    std::ofstream file(folder + "/adapter_model.safetensors", std::ios::binary);
    const std::string header = header_ + "}";
    const uint64_t size = header.size();
    file.write(reinterpret_cast<const char*>(&size), sizeof size);
    file << header;
    file.write(reinterpret_cast<const char*>(values_.data()),
               static_cast<std::streamsize>(2 * values_.size()));
  }

 private:
  std::string header_;
  std::vector<uint16_t> values_;
  std::mt19937 random_{1};
};

void write_tree(const std::string& folder, const ModelConfig& base) {
  RandomTensors tensors;
  for (int layer = 0; layer < base.layers; ++layer) {
    for (const char* module : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = std::string(module) == "down_proj";
      const int in = down ? base.ffn_width : base.width;
      const int out = down ? base.width : base.ffn_width;
      const std::string at =
          "base_model.model.model.layers." + std::to_string(layer) + ".mlp." + module + ".";
      tensors.add(at + "moe_downproj_x.weight", {32, in});
      tensors.add(at + "moe_downproj_x.bias", {32});
      for (int l = 0; l < 2; ++l) {
        const std::string dot = "." + std::to_string(l);
        const int width = 32 * (l + 1);
        const std::string gate = at + "moe_gate" + dot;
        tensors.add(gate + ".keys", {4, 16});
        tensors.add(gate + ".mlp.0.weight", {16, l == 0 ? 48 : 32});
        tensors.add(gate + ".mlp.0.bias", {16});
        tensors.add(gate + ".mlp.2.weight", {16, 16});
        tensors.add(gate + ".mlp.2.bias", {16});
        tensors.add(at + "moe_A" + dot, {4, 8, in});
        tensors.add(at + "moe_A_bias" + dot, {4, 8});
        tensors.add(at + "moe_B" + dot, {4, width, 8});
        tensors.add(at + "moe_B_bias" + dot, {4, width});
      }
      tensors.add(at + "moe_W.1", {64, 32});
      tensors.add(at + "moe_W_bias.1", {64});
      tensors.add(at + "moe_W_final", {out, 64});
      tensors.add(at + "moe_W_final_bias", {out});
    }
  }
  tensors.write(folder, R"({"peft_type":"HIER_MOE","moe_arch":"smore","num_experts":[4,4],)"
                        R"("num_active":[2,2],"expert_dims":[8,8],"gate_dims":[16,16],)"
                        R"("gate_type":"switch","gate_act_fn":"tanh","expert_act_fn":"tanh"})");
}

void write_lora(const std::string& folder, const ModelConfig& base) {
  RandomTensors tensors;
  const int kv = base.kv_heads * base.head_dim;
  const std::pair<const char*, std::pair<int, int>> modules[] = {
      {"self_attn.q_proj", {base.width, base.width}},
      {"self_attn.k_proj", {base.width, kv}},
      {"self_attn.v_proj", {base.width, kv}},
      {"self_attn.o_proj", {base.width, base.width}},
      {"mlp.gate_proj", {base.width, base.ffn_width}},
      {"mlp.up_proj", {base.width, base.ffn_width}},
      {"mlp.down_proj", {base.ffn_width, base.width}}};
  for (int layer = 0; layer < base.layers; ++layer) {
    for (const auto& [module, shape] : modules) {
      const std::string at =
          "base_model.model.model.layers." + std::to_string(layer) + "." + module + ".";
      tensors.add(at + "lora_A.weight", {16, shape.first});
      tensors.add(at + "lora_B.weight", {shape.second, 16});
    }
  }
  tensors.write(folder, R"({"peft_type":"LORA","r":16,"lora_alpha":16})");
}

// The adapters' part of one decode step: a row per stream, dealt to the adapters in turn.
class DecodeStep {
 public:
  DecodeStep(Adapters& adapters, const std::vector<int>& handles, int streams)
      : adapters_(adapters), base_(smollm2()) {
    for (size_t i = 0; i < handles.size(); ++i) {
      AdapterRows::Group& group = rows_.groups.emplace_back(AdapterRows::Group{handles[i], {}});
      for (int row = static_cast<int>(i); row < streams; row += static_cast<int>(handles.size())) {
        group.rows.push_back(row);
      }
    }
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    x_.resize(int64_t{streams} * base_.ffn_width);
    for (float& value : x_) value = normal(random);
    y_.resize(int64_t{streams} * 2 * base_.ffn_width);
  }

  void run() {
    const int kv = base_.kv_heads * base_.head_dim;
    for (int layer = 0; layer < base_.layers; ++layer) {
      apply(layer, {{Site::kQ, base_.width}, {Site::kK, kv}, {Site::kV, kv}}, base_.width);
      apply(layer, {{Site::kO, base_.width}}, base_.width);
      apply(layer, {{Site::kGate, base_.ffn_width}, {Site::kUp, base_.ffn_width}}, base_.width);
      apply(layer, {{Site::kDown, base_.width}}, base_.ffn_width);
    }
  }

  // Seconds of the fastest of many steps: what is left when nothing else runs.
  double time() {
    double best = 1e9;
    for (int i = 0; i < 40; ++i) {
      const double begin = seconds();
      run();
      best = std::min(best, seconds() - begin);
    }
    return best;
  }

 private:
  void apply(int layer, const std::vector<std::pair<Site, int>>& sites, int x_width) {
    int64_t stride = 0;
    for (const auto& [site, width] : sites) stride += width;
    std::vector<SiteOutput> outputs;
    float* y = y_.data();
    for (const auto& [site, width] : sites) {
      outputs.push_back({site, y, stride});
      y += width;
    }
    adapters_.apply(layer, outputs, rows_, x_.data(), x_width);
  }

  Adapters& adapters_;
  ModelConfig base_;
  AdapterRows rows_;
  std::vector<float> x_;
  std::vector<float> y_;
};

void bench(Backend& backend, const char* kind, const std::string& folder,
           const std::vector<int>& streams) {
  for (const int count : streams) {
    for (const int adapters_in_use : {1, count}) {
      Adapters adapters(smollm2(), {.memory_budget = uint64_t{1} << 34}, backend);
      std::vector<int> handles;
      for (int i = 0; i < adapters_in_use; ++i) {
        handles.push_back(adapters.add(folder));
        adapters.acquire(handles.back());
      }
      const double time = DecodeStep(adapters, handles, count).time();
      const double bytes = static_cast<double>(adapters.info(handles[0]).bytes) * adapters_in_use;
      std::printf("%-6s %3d streams on %3d adapters  %8.3f ms a step  %6.1f GB/s of all weights\n",
                  kind, count, adapters_in_use, time * 1e3, bytes / time * 1e-9);
      std::fflush(stdout);
      if (count == 1) break;
    }
  }
}

int run(int argc, char** argv) {
  BackendOptions options;
  options.threads = argc > 1 ? std::atoi(argv[1]) : 2;
  options.fp32_activations = false;
  std::vector<int> streams;
  std::stringstream list(argc > 2 ? argv[2] : "1,4,16");
  for (std::string item; std::getline(list, item, ',');) streams.push_back(std::stoi(item));
  const auto backend = make_cpu_backend(options);
  char name[] = "/tmp/adapter-bench-XXXXXX";
  if (::mkdtemp(name) == nullptr) return 1;
  const std::string folder = name;
  std::printf("%s, %d threads\n", std::string(backend->path()).c_str(), options.threads);
  write_tree(folder + "/tree", smollm2());
  write_lora(folder + "/lora", smollm2());
  bench(*backend, "S'MoRE", folder + "/tree", streams);
  bench(*backend, "LoRA", folder + "/lora", streams);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace smore

int main(int argc, char** argv) {
  try {
    return smore::run(argc, argv);
  } catch (const smore::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
