// Whole steps of an engine on a device, with random weights of real shapes in bfloat16: decoding of
// one stream and of 64, a prompt, adapters of several numbers beside the base in turn, rows without
// one beside them, and an adapter that comes from the host's memory; the prompt once more by
// cuBLASLt. Prints what was measured beside the limit of the machine, by the figures that its maker
// gives. The variable SMORE_CUBLASLT names the library where the loader does not find it.
//   gpu_bench FOLDER [SHAPE=llama-3.2-1b] [DEVICE=cuda:0] [ROUNDS=64] [GB_S=4800] [TFLOPS=790]
// FOLDER is where the model and the adapters are made, 3 GB or 17 GB of them.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/random_adapters.h"
#include "bench/random_model.h"
#include "core/error.h"
#include "engine/engine.h"
#include "tests/engine_harness.h"

namespace smore {
namespace {

constexpr int kStreams = 64;
constexpr int kContext = 256;  // positions of a stream before it is measured
constexpr int kAdapters = 64;
constexpr int kNone = 0;  // no adapter's handle

struct Options {
  std::string folder;
  LlamaShape shape{};
  std::string device = "cuda:0";
  int rounds = 64;
  double bandwidth = 4800e9;  // bytes a second
  double operations = 790e12;
  GpuProducts products = GpuProducts::kInvariant;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    const int positions = kContext + 2 * options.rounds + 1;
    pages_ = std::max((positions + kPageTokens - 1) / kPageTokens, prompt() / kPageTokens);
    EngineConfig config;
    config.model_path = model_folder();
    config.device = options.device;
    config.threads = 4;
    config.max_batch = kStreams;
    config.max_batch_tokens = std::max(prompt(), kStreams);
    config.kv_memory = kv_bytes();
    config.adapter_memory = uint64_t{8} << 30;
    config.gpu_adapter_memory = config.adapter_memory;
    config.max_loaded_adapters = kAdapters;
    config.products = options.products;
    const char* file = std::getenv("SMORE_CUBLASLT");
    if (file != nullptr) config.cublaslt = file;
    engine_ = Engine::load(config, [](uint64_t done, uint64_t total, const std::string&) {
      if (done == total)
        std::fprintf(stderr, "loaded %.1f GB\n", static_cast<double>(total) * 1e-9);
    });
    const EngineInfo& info = engine_->info();
    std::printf("%s, random weights in bfloat16, %.2f GB; %s, %s\n", options.shape.name.data(),
                static_cast<double>(info.weight_bytes) * 1e-9, info.device.c_str(),
                info.kernel_path.c_str());
  }

  // Seconds of a step.
  double decode(int streams) {
    const double time = measure(streams, {});
    const double bound = static_cast<double>(engine_->info().weight_bytes) / options_.bandwidth;
    std::printf("%-44s %9.0f tokens/s  %8.3f ms  %.2f of the memory's limit\n",
                (std::to_string(streams) + (streams == 1 ? " stream" : " streams")).c_str(),
                streams / time, time * 1e3, bound / time);
    return time;
  }

  // The base alone once adapters are in memory, beside what it took before they were.
  void without_adapters(double before) {
    const double time = measure(kStreams, {});
    std::printf("%-44s %9.0f tokens/s  %8.3f ms  %.3f of the base before them\n",
                (std::to_string(kStreams) + " streams beside trees in memory").c_str(),
                kStreams / time, time * 1e3, before / time);
  }

  void graphs() const {
    double stats[kStatCount] = {};
    engine_->stats(stats);
    std::printf("%-44s %9.0f launches, %.0f made, %.0f kernels changed; %.0f lists without one\n",
                "graphs", stats[kStatGraphLaunches], stats[kStatGraphCaptures],
                stats[kStatGraphUpdates], stats[kStatGraphDirect]);
  }

  void prompts() {
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
      std::vector<Sequence> sequence{row_of(0, 0, {})};
      sequence[0].tokens = tokens(prompt());
      best = std::min(best, step(sequence));
    }
    // The output layer has one row.
    const int64_t output = int64_t{options_.shape.width} * options_.shape.vocab;
    const double products = static_cast<double>(options_.shape.products() - output);
    const double rate = 2 * products * prompt() / best;
    std::printf("%-44s %9.0f tokens/s  %8.3f ms  %.2f of the peak (%.0f TFLOP/s, products alone)\n",
                prompt_name().c_str(), prompt() / best, best * 1e3, rate / options_.operations,
                rate * 1e-12);
  }

  void adapters() {
    write_tree(options_.folder + "/tree", config_of(options_.shape));
    std::vector<int> handles;
    for (int i = 0; i < kAdapters; ++i) {
      handles.push_back(engine_->adapters().add(options_.folder + "/tree"));
    }
    first_token(handles[0]);  // the first adapter of all also loads kernels
    std::printf("%-44s %31.3f ms to the first token\n", "an adapter out of the page cache",
                first_token(handles[1]) * 1e3);
    for (const int count : {1, 4, 16, kAdapters}) {
      const std::vector<int> used(handles.begin(), handles.begin() + count);
      for (const int handle : used) {
        if (!engine_->adapters().acquired(handle)) acquire(handle);
      }
      beside_base(std::to_string(kStreams) + " streams on " + std::to_string(count) +
                      (count == 1 ? " tree" : " trees"),
                  used);
    }
    std::vector<int> half(handles.begin(), handles.begin() + kStreams / 2);
    half.resize(kStreams, kNone);
    beside_base(std::to_string(kStreams) + " streams, half of them on trees", half);
  }

 private:
  std::string model_folder() const {
    return options_.folder + "/" + std::string(options_.shape.name);
  }

  static ModelConfig config_of(const LlamaShape& shape) {
    ModelConfig config;
    config.layers = shape.layers;
    config.width = shape.width;
    config.ffn_width = shape.ffn_width;
    config.heads = shape.heads;
    config.kv_heads = shape.kv_heads;
    config.head_dim = shape.head_dim;
    return config;
  }

  std::string prompt_name() const {
    const bool library = options_.products == GpuProducts::kCublasLt;
    return "a prompt of " + std::to_string(prompt()) + (library ? ", by cuBLASLt" : "");
  }

  int prompt() const { return options_.shape.name == "tiny" ? 64 : 4096; }

  uint64_t kv_bytes() const {
    const LlamaShape& s = options_.shape;
    const uint64_t position = uint64_t{4} * 2 * s.layers * s.kv_heads * s.head_dim;
    return position * kPageTokens * pages_ * kStreams;
  }

  void acquire(int handle) {
    if (!engine_->adapters().acquire(handle)) {
      throw Error(ErrorCode::kOutOfMemory, "the adapters do not fit beside each other");
    }
  }

  std::vector<int32_t> tokens(int count) {
    std::vector<int32_t> made;
    for (int i = 0; i < count; ++i) made.push_back((i * 7919 + 13) % options_.shape.vocab);
    return made;
  }

  // A step's worth of a stream that goes on from `context`; its token is the last one sampled.
  Sequence row_of(int stream, int context, const std::vector<int>& adapters) {
    Sequence sequence;
    sequence.tokens = {0};
    sequence.flags = context == 0 ? kSample : kSample | kTokenFromSlot;
    sequence.slot = stream;
    sequence.context = context;
    sequence.first_page = stream * pages_;
    sequence.sample_index = context;
    const int adapter = adapters.empty() ? kNone : adapters[stream % adapters.size()];
    if (adapter != kNone) sequence.adapters = {{adapter}};
    return sequence;
  }

  double step(const std::vector<Sequence>& sequences) {
    HandMadeStep made(sequences);
    const StepInput in = made.input();
    const StepOutput out = made.output();
    const double begin = seconds();
    engine_->step(in, out);
    const double time = seconds() - begin;
    for (const int32_t status : made.status) {
      if (status != 0) throw Error(ErrorCode::kDevice, "a sequence of the bench failed");
    }
    return time;
  }

  void fill_contexts(int streams, const std::vector<int>& adapters) {
    for (int b = 0; b < streams; ++b) {
      std::vector<Sequence> sequence{row_of(b, 0, adapters)};
      sequence[0].tokens = tokens(std::min(kContext, prompt()));
      step(sequence);
    }
  }

  double decode_step(int streams, int context, const std::vector<int>& adapters) {
    std::vector<Sequence> sequences;
    for (int b = 0; b < streams; ++b) sequences.push_back(row_of(b, context, adapters));
    return step(sequences);
  }

  // Median seconds of a decode step.
  double measure(int streams, const std::vector<int>& adapters) {
    fill_contexts(streams, adapters);
    std::vector<double> times;
    const int from = std::min(kContext, prompt());
    for (int i = 0; i < options_.rounds; ++i) {
      times.push_back(decode_step(streams, from + i, adapters));
    }
    return median(times);
  }

  // With adapters and without, in turn.
  void beside_base(const std::string& name, const std::vector<int>& adapters) {
    fill_contexts(kStreams, {});
    std::vector<double> with, without;
    const int from = std::min(kContext, prompt());
    for (int i = 0; i < options_.rounds; ++i) {
      without.push_back(decode_step(kStreams, from + 2 * i, {}));
      with.push_back(decode_step(kStreams, from + 2 * i + 1, adapters));
    }
    const double base = median(without);
    const double adapted = median(with);
    std::printf("%-44s %9.0f tokens/s  %8.3f ms  %.3f of the base beside them (%.3f ms)\n",
                name.c_str(), kStreams / adapted, adapted * 1e3, base / adapted, base * 1e3);
  }

  // Seconds from an adapter that is registered to the first token of a short prompt.
  double first_token(int handle) {
    const double begin = seconds();
    acquire(handle);
    std::vector<Sequence> sequence{row_of(0, 0, {handle})};
    sequence[0].tokens = tokens(16);
    step(sequence);
    return seconds() - begin;
  }

  Options options_;
  int pages_ = 0;  // of a stream
  std::unique_ptr<Engine> engine_;
};

// By a second engine, as an engine has one way.
void prompts_by_library(Options options) {
  options.products = GpuProducts::kCublasLt;
  try {
    Bench(options).prompts();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kUnsupported) throw;
    std::printf("a prompt by cuBLASLt is left out: %s\n", error.what());
  }
}

int run(int argc, char** argv) {
  Options options;
  options.folder = argv[1];
  options.shape = llama_shape(argc > 2 ? argv[2] : "llama-3.2-1b");
  if (argc > 3) options.device = argv[3];
  if (argc > 4) options.rounds = std::max(1, std::atoi(argv[4]));
  if (argc > 5) options.bandwidth = std::atof(argv[5]) * 1e9;
  if (argc > 6) options.operations = std::atof(argv[6]) * 1e12;
  const std::string model = options.folder + "/" + std::string(options.shape.name);
  if (!std::filesystem::exists(model + "/model.safetensors")) {
    write_random_model(model, options.shape);
  }
  {
    Bench bench(options);
    bench.decode(1);
    const double base = bench.decode(kStreams);
    bench.prompts();
    bench.adapters();
    bench.without_adapters(base);
    bench.graphs();
  }
  if (options.device != "cpu") prompts_by_library(options);
  return 0;
}

}  // namespace
}  // namespace smore

int main(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') {
    std::fprintf(stderr,
                 "usage: gpu_bench FOLDER [SHAPE=llama-3.2-1b] [DEVICE=cuda:0] [ROUNDS=64] "
                 "[GB_S=4800] [TFLOPS=790]\n");
    return 2;
  }
  try {
    return smore::run(argc, argv);
  } catch (const smore::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
