// Times whole steps of a model, base alone: a prompt, and decoding at several numbers of streams;
// tokens/s and the share of each op.   model_bench MODEL [THREADS=2] [STREAMS=1,4,16] [PROMPT=512]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "core/error.h"
#include "model/llama.h"
#include "model/source.h"
#include "model/weights.h"
#include "residual/adapters.h"

namespace smore {
namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The backend with a clock around every op.
class TimedBackend final : public Backend {
 public:
  explicit TimedBackend(Backend& inner) : inner_(inner) {}

  std::map<std::string, double> times;

  std::string_view path() const override { return inner_.path(); }
  ThreadPool& threads() override { return inner_.threads(); }
  std::unique_ptr<Matrix> pack(std::span<const MatrixSource> parts) override {
    return inner_.pack(parts);
  }
  std::unique_ptr<RotaryTable> make_rotary(const ModelConfig& config, int positions) override {
    return inner_.make_rotary(config, positions);
  }
  std::unique_ptr<KvCache> make_kv_cache(int layers, const AttentionShape& shape,
                                         int pages) override {
    return inner_.make_kv_cache(layers, shape, pages);
  }
  void embed(const Matrix& table, const int32_t* tokens, int rows, float scale, float* x) override {
    time("embed", [&] { inner_.embed(table, tokens, rows, scale, x); });
  }
  void rms_norm(const float* x, const float* weight, int rows, int width, float eps,
                float* y) override {
    time("rms_norm", [&] { inner_.rms_norm(x, weight, rows, width, eps, y); });
  }
  void matmul(const Matrix& w, const float* x, int rows, const float* bias, float* y) override {
    time("matmul " + std::to_string(w.rows()) + " x " + std::to_string(w.columns()),
         [&] { inner_.matmul(w, x, rows, bias, y); });
  }
  void rotate_and_store(KvCache& kv, int layer, const AttentionShape& shape,
                        const RotaryTable& rotary, const AttentionStep& step, const float* q_norm,
                        const float* k_norm, float eps, float* qkv) override {
    time("rotate_and_store", [&] {
      inner_.rotate_and_store(kv, layer, shape, rotary, step, q_norm, k_norm, eps, qkv);
    });
  }
  void attention(const KvCache& kv, int layer, const AttentionShape& shape,
                 const AttentionStep& step, const float* qkv, float* y) override {
    time("attention", [&] { inner_.attention(kv, layer, shape, step, qkv, y); });
  }
  void gated_activation(Activation activation, const float* gate_up, int rows, int ffn_width,
                        float* y) override {
    time("gated_activation",
         [&] { inner_.gated_activation(activation, gate_up, rows, ffn_width, y); });
  }
  void add(float* x, const float* y, int64_t count) override {
    time("add", [&] { inner_.add(x, y, count); });
  }
  void softcap(float cap, float* x, int64_t count) override {
    time("softcap", [&] { inner_.softcap(cap, x, count); });
  }

 private:
  template <class Fn>
  void time(const std::string& op, Fn&& fn) {
    const double begin = seconds();
    fn();
    times[op] += seconds() - begin;
  }

  Backend& inner_;
};

constexpr int kFirst = 16;  // tokens of a stream's own prompt
constexpr int kSteps = 64;  // that each stream then decodes

class Bench {
 public:
  Bench(const std::string& path, int threads, int streams, int prompt)
      : pages_((std::max(prompt, kFirst + kSteps) + kPageTokens - 1) / kPageTokens),
        source_(open_model(path)),
        cpu_(make_cpu_backend({.threads = threads, .fp32_activations = false, .path = ""})),
        timed_(*cpu_),
        config_(source_.config),
        weights_(pack_weights(source_, Quantize::kNone, *cpu_, [](auto...) {})),
        rotary_(cpu_->make_rotary(config_, pages_ * kPageTokens)),
        kv_(cpu_->make_kv_cache(config_.layers, Llama::attention_shape(config_, 0),
                                streams * pages_)),
        adapters_(config_, {.memory_budget = 1 << 20, .max_resident = 1}, *cpu_),
        llama_(config_, weights_, timed_, *kv_, *rotary_, adapters_,
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
    step.tokens = tokens.data();
    step.attention = {.rows = static_cast<int>(tokens.size()),
                      .sequences = streams,
                      .row_start = row_start.data(),
                      .row_sequence = row_sequence.data(),
                      .context = contexts.data(),
                      .block_start = block_start.data(),
                      .blocks = blocks.data(),
                      .positions = positions.data()};
    llama_.forward(step);
    llama_.logits(wanted);
  }

  // Best of three of a run of steps; prints tokens/s and what each op took of that run.
  template <class Run>
  void measure(const char* name, int tokens, Run&& run) {
    double best = 1e9;
    std::map<std::string, double> times;
    for (int i = 0; i < 3; ++i) {
      timed_.times.clear();
      const double begin = seconds();
      run();
      const double time = seconds() - begin;
      if (time >= best) continue;
      best = time;
      times = timed_.times;
    }
    std::printf("%-24s %8.0f tokens/s %9.1f ms\n", name, tokens / best, best * 1e3);
    for (const auto& [op, time] : times)
      std::printf("    %-26s %5.1f %%\n", op.c_str(), time / best * 100);
  }

 private:
  int pages_;  // of a stream
  ModelSource source_;
  std::unique_ptr<Backend> cpu_;
  TimedBackend timed_;
  ModelConfig config_;
  ModelWeights weights_;
  std::unique_ptr<RotaryTable> rotary_;
  std::unique_ptr<KvCache> kv_;
  Adapters adapters_;
  Llama llama_;
};

std::vector<int> parse_list(const char* text) {
  std::vector<int> values;
  for (const char* at = text; *at;) {
    char* end;
    values.push_back(static_cast<int>(std::strtol(at, &end, 10)));
    at = *end ? end + 1 : end;
  }
  return values;
}

void run(int argc, char** argv) {
  const auto argument = [&](int i, const char* otherwise) {
    return argc > i ? argv[i] : otherwise;
  };
  const std::vector<int> stream_counts = parse_list(argument(3, "1,4,16"));
  const int prompt = std::atoi(argument(4, "512"));
  const int most = *std::max_element(stream_counts.begin(), stream_counts.end());
  Bench bench(argv[1], std::atoi(argument(2, "2")), most, prompt);
  bench.measure("prompt", prompt, [&] { bench.step(1, prompt, 0); });
  for (int streams : stream_counts) {
    bench.step(streams, kFirst, 0);
    const std::string name = "decode, " + std::to_string(streams) + " streams";
    bench.measure(name.c_str(), kSteps * streams, [&] {
      for (int i = 0; i < kSteps; ++i) bench.step(streams, 1, kFirst + i);
    });
  }
}

}  // namespace
}  // namespace smore

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: model_bench MODEL [THREADS] [STREAMS] [PROMPT]\n");
    return 2;
  }
  try {
    smore::run(argc, argv);
  } catch (const smore::Error& error) {
    std::fprintf(stderr, "model_bench: %s\n", error.what());
    return 1;
  }
}
