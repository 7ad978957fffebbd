// Decode steps with adapters beside steps of the base alone, in turn: a S'MoRE tree (4/4 experts,
// 2/2 active, rank 8) on gate, up and down, and LoRA of rank 16 on seven linears, random weights in
// bfloat16; one stream, and 16 on one adapter and on 16. Prints the share of the base's speed
// beside what the bytes allow.   adapter_bench MODEL [THREADS=2] [STEPS=40]
// [ACTIVATIONS=auto|int8|fp32] [EXPERTS=stored|int8] [CASE, as "tree-16-1"; otherwise all]

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/backend.h"
#include "bench/arguments.h"
#include "bench/random_adapters.h"
#include "bench/scratch_folder.h"
#include "core/error.h"
#include "core/huge_pages.h"
#include "engine/step.h"
#include "model/llama.h"
#include "model/source.h"
#include "model/weights.h"
#include "residual/adapters.h"

namespace smore {
namespace {

constexpr int kMostStreams = 16;
constexpr int kContext = 256;  // positions of a stream

struct Options {
  int threads = 2;
  int steps = 40;
  ActivationType activations = ActivationType::kDigits;
  ExpertType experts = ExpertType::kStored;
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Bytes a second of summing a buffer far larger than the caches, the best of several times.
double read_bandwidth(ThreadPool& threads) {
  constexpr int64_t kWords = int64_t{256} << 17;
  constexpr int64_t kPiece = 1 << 15;
  const std::shared_ptr<uint8_t> bytes = huge_bytes(kWords * 8);
  std::memset(bytes.get(), 1, kWords * 8);
  const auto* buffer = reinterpret_cast<const uint64_t*>(bytes.get());
  std::atomic<uint64_t> sink{0};
  double best = 1e9;
  for (int i = 0; i < 12; ++i) {
    const double begin = seconds();
    threads.for_each(kWords / kPiece, [&](int64_t chunk) {
      uint64_t sum = 0;
      for (int64_t w = 0; w < kPiece; ++w) sum += buffer[chunk * kPiece + w];
      sink += sum;
    });
    best = std::min(best, seconds() - begin);
  }
  return kWords * 8 / best;
}

// Decode steps of a whole model, a row per stream.
class Bench {
 public:
  Bench(const std::string& path, const Options& options)
      : options_(options),
        source_(open_model(path)),
        cpu_(make_cpu_backend(
            {.threads = options.threads, .activations = options.activations, .path = ""})),
        config_(source_.config),
        weights_(pack_weights(source_, Quantize::kNone, *cpu_, [](auto...) {})),
        rotary_(cpu_->make_rotary(config_, kContext)),
        kv_(cpu_->make_kv_cache(config_.layers, Llama::attention_shape(config_, 0),
                                kMostStreams * kContext / kPageTokens)),
        bandwidth_(read_bandwidth(cpu_->threads())) {
    std::printf("%s, %d threads, memory read %.1f GB/s, base %.1f MB\n",
                std::string(cpu_->path()).c_str(), options.threads, bandwidth_ * 1e-9,
                static_cast<double>(weights_.bytes) * 1e-6);
  }

  const ModelConfig& config() const { return config_; }

  // Streams dealt to adapters in turn, beside steps of the base alone that take turns with them.
  void measure(const char* kind, const std::string& folder, int streams, int in_use) {
    Adapters adapters(config_, {.memory_budget = uint64_t{1} << 34, .experts = options_.experts},
                      *cpu_);
    Llama llama(config_, weights_, *cpu_, *kv_, *rotary_, adapters, kMostStreams);
    AdapterRows rows;
    for (int i = 0; i < in_use; ++i) {
      AdapterRows::Group& group = rows.groups.emplace_back();
      group.handle = adapters.add(folder);
      adapters.acquire(group.handle);
      for (int row = i; row < streams; row += in_use) group.rows.push_back(row);
    }
    double base = 1e9;
    double adapted = 1e9;
    double pages = 0;
    for (int position = 0; position < options_.steps; ++position) {
      base = std::min(base, step(llama, adapters, {}, streams, position));
      const double before = page_uses(adapters);
      adapted = std::min(adapted, step(llama, adapters, rows, streams, position));
      pages = page_uses(adapters) - before;
    }
    const double bytes = touched_bytes(adapters, rows, pages);
    const double bound = base / (base + bytes / bandwidth_);
    std::printf(
        "%-7s %2d streams on %2d adapters  base %6.2f ms  with %6.2f ms  of base %.3f  bound %.3f "
        "(%5.1f MB)  of bound %.3f\n",
        kind, streams, in_use, base * 1e3, adapted * 1e3, base / adapted, bound, bytes * 1e-6,
        base / adapted / bound);
    std::fflush(stdout);
  }

 private:
  // Seconds of one step at this position of every stream, logits included.
  double step(Llama& llama, Adapters& adapters, const AdapterRows& rows, int streams,
              int position) {
    std::vector<int32_t> tokens, positions, sequences, row_start{0}, contexts, blocks,
        block_start{0};
    std::vector<WantedRow> wanted;
    for (int b = 0; b < streams; ++b) {
      tokens.push_back(100 + (b * 31 + position * 7) % 1000);
      positions.push_back(position);
      sequences.push_back(b);
      row_start.push_back(b + 1);
      contexts.push_back(position);
      for (int page = 0; page < kContext / kPageTokens; ++page) {
        blocks.push_back(b * kContext / kPageTokens + page);
      }
      block_start.push_back(static_cast<int32_t>(blocks.size()));
      wanted.push_back({b, b, true});
    }
    ModelStep step{.tokens = {tokens.data()},
                   .attention = {.rows = streams,
                                 .sequences = streams,
                                 .row_start = row_start.data(),
                                 .row_sequence = sequences.data(),
                                 .context = contexts.data(),
                                 .block_start = block_start.data(),
                                 .blocks = blocks.data(),
                                 .positions = positions.data()},
                   .adapters = rows};
    const double begin = seconds();
    const AdapterUse use(adapters, step.adapters);
    llama.forward(step);
    llama.logits(wanted);
    return seconds() - begin;
  }

  static double page_uses(const Adapters& adapters) {
    double stats[kStatCount] = {};
    adapters.stats(stats);
    return stats[kStatExpertHits] + stats[kStatExpertMisses];
  }

  // Trunks whole, and as many pages of middling size as the step used.
  static double touched_bytes(const Adapters& adapters, const AdapterRows& rows, double pages) {
    const AdapterInfo info = adapters.info(rows.groups[0].handle);
    const double trunk = static_cast<double>(info.trunk_bytes);
    const double page = (static_cast<double>(info.bytes) - trunk) / info.pages;
    return static_cast<double>(rows.groups.size()) * trunk + pages * page;
  }

  Options options_;
  ModelSource source_;
  std::unique_ptr<Backend> cpu_;
  ModelConfig config_;
  ModelWeights weights_;
  std::unique_ptr<RotaryTable> rotary_;
  std::unique_ptr<KvCache> kv_;
  double bandwidth_;  // bytes a second
};

ExpertType expert_type(const std::string& name) {
  if (name == "stored") return ExpertType::kStored;
  if (name == "int8") return ExpertType::kInt8;
  throw Error(ErrorCode::kInvalidArgument, "EXPERTS must be stored or int8, not \"" + name + "\"");
}

struct Case {
  std::string name;
  std::string kind;
  int streams;
  int adapters;
};

const std::vector<Case> kCases = {{"tree-1-1", "tree", 1, 1},     {"tree-16-1", "tree", 16, 1},
                                  {"tree-16-16", "tree", 16, 16}, {"lora-1-1", "lora", 1, 1},
                                  {"lora-16-1", "lora", 16, 1},   {"lora-16-16", "lora", 16, 16}};

std::vector<Case> cases_named(const std::string& name) {
  std::string names;
  for (const Case& one : kCases) {
    if (one.name == name) return {one};
    names += (names.empty() ? "" : ", ") + one.name;
  }
  throw Error(ErrorCode::kInvalidArgument,
              "CASE must be one of " + names + ", not \"" + name + "\"");
}

void run(int argc, char** argv) {
  Options options;
  std::vector<Case> cases = kCases;
  if (argc > 2) options.threads = whole_number("THREADS", argv[2], 1, 1024);
  if (argc > 3) options.steps = whole_number("STEPS", argv[3], 1, kContext);
  if (argc > 4) options.activations = activation_type(argv[4]);
  if (argc > 5) options.experts = expert_type(argv[5]);
  if (argc > 6) cases = cases_named(argv[6]);
  const ScratchFolder folder("adapter-bench");
  Bench bench(argv[1], options);
  write_tree(folder.path() + "/tree", bench.config());
  write_lora(folder.path() + "/lora", bench.config());
  for (const Case& one : cases) {
    bench.measure(one.kind.c_str(), folder.path() + "/" + one.kind, one.streams, one.adapters);
  }
}

}  // namespace
}  // namespace smore

int main(int argc, char** argv) {
  return smore::run_program(
      "adapter_bench MODEL [THREADS=2] [STEPS=40] [auto|int8|fp32] [stored|int8] [CASE]", 1, argc,
      argv, smore::run);
}
