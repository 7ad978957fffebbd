// Times whole steps of a model, base alone: a prompt, and decoding at several numbers of streams;
// tokens/s and what each stage
// took.   model_bench MODEL [THREADS=2] [STREAMS=1,4,16] [PROMPT=512]
// [NEIGHBOURS=0]   With neighbours, decoding is measured again beside so many busy processes.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "bench/arguments.h"
#include "core/error.h"
#include "engine/profile.h"
#include "model/llama.h"
#include "model/source.h"
#include "model/weights.h"
#include "residual/adapters.h"

namespace smore {
namespace {

constexpr const char* kStageNames[] = {"embed",   "norm", "qkv", "rotary", "attention", "o",
                                       "gate_up", "down", "add", "output", "adapters",  "sampling"};
static_assert(std::size(kStageNames) == kStageCount);

constexpr int kFirst = 16;  // tokens of a stream's own prompt
constexpr int kSteps = 64;  // that each stream then decodes

class Bench {
 public:
  Bench(const std::string& path, int threads, int streams, int prompt)
      : pages_((std::max(prompt, kFirst + kSteps) + kPageTokens - 1) / kPageTokens),
        source_(open_model(path)),
        cpu_(make_cpu_backend({.threads = threads, .path = ""})),
        config_(source_.config),
        weights_(pack_weights(source_, Quantize::kNone, *cpu_, [](auto...) {})),
        profiled_(*cpu_, weights_, profile_),
        rotary_(cpu_->make_rotary(config_, pages_ * kPageTokens)),
        kv_(cpu_->make_kv_cache(config_.layers, Llama::attention_shape(config_, 0),
                                streams * pages_)),
        adapters_(config_, {.memory_budget = 1 << 20, .max_resident = 1}, *cpu_),
        llama_(config_, weights_, profiled_, *kv_, *rotary_, adapters_,
               std::max(streams * kFirst, prompt)) {
    std::printf("%s, %d threads, weights %.1f MB\n", std::string(cpu_->path()).c_str(), threads,
                static_cast<double>(weights_.bytes) * 1e-6);
  }

  // `rows` tokens of each of `streams` sequences from position `context` on, logits of the last.
  void step(int streams, int rows, int context) {
    std::vector<int32_t> tokens, positions, row_sequence, row_start{0}, contexts, blocks,
        block_start{0};
    std::vector<WantedRow> wanted;
    for (int b = 0; b < streams; ++b) {
      for (int i = 0; i < rows; ++i) {
        tokens.push_back(100 + (b * 31 + (context + i) * 7) % 1000);
        positions.push_back(context + i);
        row_sequence.push_back(b);
      }
      row_start.push_back(static_cast<int32_t>(tokens.size()));
      contexts.push_back(context);
      for (int page = 0; page < pages_; ++page) blocks.push_back(b * pages_ + page);
      block_start.push_back(static_cast<int32_t>(blocks.size()));
      wanted.push_back({row_start.back() - 1, b, true});
    }
    ModelStep step;
    step.tokens = {tokens.data()};
    step.attention = {.rows = static_cast<int>(tokens.size()),
                      .sequences = streams,
                      .row_start = row_start.data(),
                      .row_sequence = row_sequence.data(),
                      .context = contexts.data(),
                      .block_start = block_start.data(),
                      .blocks = blocks.data(),
                      .positions = positions.data()};
    std::vector<int32_t> needed;
    for (const WantedRow& row : wanted) needed.push_back(row.row);
    step.needed = needed;
    llama_.forward(step);
    llama_.logits(wanted);
  }

  // Best of three of a run of steps; prints tokens/s and what each stage took of that run.
  template <class Run>
  void measure(const char* name, int tokens, Run&& run) {
    double best = 1e9;
    Figures figures{};
    for (int i = 0; i < 3; ++i) {
      const Figures before = figures_so_far();
      const double begin = clock_seconds();
      run();
      const double time = clock_seconds() - begin;
      if (time >= best) continue;
      best = time;
      figures = figures_so_far();
      for (size_t j = 0; j < figures.size(); ++j) figures[j] -= before[j];
    }
    std::printf("%-30s %8.0f tokens/s %9.1f ms\n", name, tokens / best, best * 1e3);
    for (int stage = 0; stage < kStageCount; ++stage) {
      const double* sums = &figures[stage * kStageFigures];
      const double time = sums[kStageSeconds];
      if (time == 0) continue;
      std::printf("    %-12s %5.1f %% %8.1f GB/s %8.0f GFLOP/s\n", kStageNames[stage],
                  time / best * 100, sums[kStageBytes] / time * 1e-9,
                  sums[kStageOperations] / time * 1e-9);
    }
  }

 private:
  using Figures = std::array<double, kStageCount * kStageFigures>;

  Figures figures_so_far() const {
    Figures figures;
    profile_.fill(figures.data());
    return figures;
  }

  int pages_;  // of a stream
  ModelSource source_;
  std::unique_ptr<Backend> cpu_;
  ModelConfig config_;
  ModelWeights weights_;
  Profile profile_;
  ProfiledBackend profiled_;
  std::unique_ptr<RotaryTable> rotary_;
  std::unique_ptr<KvCache> kv_;
  Adapters adapters_;
  Llama llama_;
};

// Processes that never rest.
class Neighbours {
 public:
  explicit Neighbours(int count) {
    for (int i = 0; i < count; ++i) {
      const pid_t child = fork();
      if (child == 0) spin();
      if (child > 0) children_.push_back(child);
    }
  }
  ~Neighbours() {
    for (const pid_t child : children_) kill(child, SIGKILL);
    for (const pid_t child : children_) waitpid(child, nullptr, 0);
  }
  Neighbours(const Neighbours&) = delete;
  Neighbours& operator=(const Neighbours&) = delete;

 private:
  [[noreturn]] static void spin() {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (volatile unsigned turn = 0;;) turn = turn + 1;
  }

  std::vector<pid_t> children_;
};

void run(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return argc > i ? argv[i] : otherwise;
  };
  const std::vector<int> stream_counts = whole_numbers("STREAMS", argument(3, "1,4,16"), 1, 1024);
  const int prompt = whole_number("PROMPT", argument(4, "512"), 1, 1 << 17);
  const int busy = whole_number("NEIGHBOURS", argument(5, "0"), 0, 1024);
  const int most = *std::max_element(stream_counts.begin(), stream_counts.end());
  const int threads = whole_number("THREADS", argument(2, "2"), 1, 1024);
  Bench bench(argv[1], threads, most, prompt);
  bench.measure("prompt", prompt, [&] { bench.step(1, prompt, 0); });
  for (int streams : stream_counts) {
    bench.step(streams, kFirst, 0);
    const std::string name = "decode, " + std::to_string(streams) + " streams";
    const auto decode = [&] {
      for (int i = 0; i < kSteps; ++i) bench.step(streams, 1, kFirst + i);
    };
    bench.measure(name.c_str(), kSteps * streams, decode);
    if (busy == 0) continue;
    const Neighbours neighbours(busy);
    bench.measure((name + ", " + std::to_string(busy) + " busy").c_str(), kSteps * streams, decode);
  }
}

}  // namespace
}  // namespace smore

int main(int argc, char** argv) {
  return smore::run_program(
      "model_bench MODEL [THREADS=2] [STREAMS=1,4,16] [PROMPT=512] [NEIGHBOURS=0]", 1, argc, argv,
      smore::run);
}
