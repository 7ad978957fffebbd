#include "engine/engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "attention/kv_pages.h"
#include "core/check.h"
#include "core/error.h"
#include "core/memory_text.h"
#include "engine/memory.h"

namespace smore {

namespace {

// Entries of logit_bias that a batch has room for, per sequence.
constexpr int kBiasesPerSequence = 1024;
// Banned experts, likewise.
constexpr int kBansPerSequence = 1024;
// Pairs of routing, likewise; one sequence that asks for all layers of a deep tree may have more.
constexpr int64_t kRoutesPerSequence = 2048;
constexpr int64_t kLeastRoutes = int64_t{1} << 16;
// Tokens of restored histories that a batch has room for, unless one sequence alone may have more.
constexpr int64_t kHistory = int64_t{1} << 20;

void require_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return;
  throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is " + std::to_string(value) +
                                               ", not in " + std::to_string(low) + ".." +
                                               std::to_string(high));
}

void check_config(const EngineConfig& config) {
  require_range("threads", config.threads, 1, 1024);
  require_range("maxBatch", config.max_batch, 1, 4096);
  require_range("maxBatchTokens", config.max_batch_tokens, config.max_batch, 1 << 20);
  require_range("maxLoadedAdapters", config.max_loaded_adapters, 1, 1 << 20);
}

StepLimits step_limits(const EngineConfig& config, int max_model_len, const ModelConfig& model) {
  const int64_t batch = config.max_batch;
  const auto clamp = [](int64_t n) { return static_cast<int>(std::min<int64_t>(n, INT32_MAX)); };
  return {
      .rows = config.max_batch_tokens,
      .sequences = config.max_batch,
      .blocks = clamp(batch * pages_of(max_model_len)),
      .history = clamp(std::min(batch * max_model_len, std::max<int64_t>(max_model_len, kHistory))),
      .biases = clamp(batch * kBiasesPerSequence),
      .bans = clamp(batch * kBansPerSequence),
      .routes = clamp(std::max(batch * kRoutesPerSequence, kLeastRoutes)),
      .width = model.width,
      .mask_words = bit_words(model.vocab),
      .layer_words = bit_words(model.layers)};
}

uint64_t page_bytes(const ModelConfig& model, Backend& backend) {
  return backend.make_kv_cache(model.layers, Llama::attention_shape(model, 0), 1)->page_bytes();
}

StepSizes step_sizes(const EngineConfig& config, int max_model_len) {
  return {.rows = config.max_batch_tokens,
          .sequences = config.max_batch,
          .positions = max_model_len,
          .adapters = config.gpu_adapter_memory > 0};
}

void require_memory(const ModelSource& source, const EngineConfig& config, uint64_t kv_bytes,
                    const ReadoutShape& readout, int max_model_len, Backend& backend) {
  const std::optional<uint64_t> on_device = backend.free_memory();
  const uint64_t weights = estimate_weight_bytes(source, config.quantize);
  const uint64_t activations =
      Activations::bytes(source.config, config.max_batch_tokens) +
      backend.scratch_bytes(source.config, step_sizes(config, max_model_len));
  const uint64_t adapters = on_device ? config.gpu_adapter_memory : config.adapter_memory;
  const uint64_t texts = backend.readout_bytes(readout);
  uint64_t needed = 0;
  for (const uint64_t part : {weights, kv_bytes, adapters, texts, activations}) {
    needed += std::min(part, UINT64_MAX - needed);
  }
  const uint64_t available = on_device.value_or(available_memory());
  if (needed <= available) return;
  const std::string where = on_device ? " of " + std::string(backend.device()) : "";
  const std::string adapters_part = ", adapters " + memory_text(adapters) +
                                    (on_device ? " (--gpu-adapter-memory)" : " (--adapter-memory)");
  const std::string texts_part = texts > 0 ? ", what is kept of texts and their logits " +
                                                 memory_text(texts) + " (--max-batch)"
                                           : "";
  throw Error(ErrorCode::kOutOfMemory,
              config.model_path + " does not fit in memory" + where + ": weights " +
                  memory_text(weights) + ", KV pages " + memory_text(kv_bytes) + " (--kv-memory)" +
                  adapters_part + texts_part + " and activations with the ops' scratch memory " +
                  memory_text(activations) + " (--max-batch-tokens) of " + memory_text(available) +
                  " available");
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const EngineConfig& config, const Progress& progress) {
  check_config(config);
  std::unique_ptr<Backend> backend = make_backend(config.device, {.threads = config.threads,
                                                                  .activations = config.activations,
                                                                  .path = config.kernel_path,
                                                                  .products = config.products,
                                                                  .cublaslt = config.cublaslt});
  return std::unique_ptr<Engine>(
      new Engine(config, open_model(config.model_path), std::move(backend), progress));
}

Engine::Engine(const EngineConfig& config, ModelSource source, std::unique_ptr<Backend> backend,
               const Progress& progress)
    : backend_(std::move(backend)), model_(source.config) {
  require_range("maxModelLen", config.max_model_len, 0, model_.max_position);
  info_.page_bytes = page_bytes(model_, *backend_);
  const KvPlan plan =
      plan_kv_pages(config.kv_memory, info_.page_bytes, config.max_model_len, model_.max_position);
  info_.kv_pages = plan.pages;
  info_.max_model_len = plan.max_model_len;
  info_.limits = step_limits(config, info_.max_model_len, model_);
  info_.slots = 2 * config.max_batch;
  const int logit_rows = Activations::fitting_logit_rows(model_, config.max_batch_tokens);
  const ReadoutShape readout{info_.limits, model_.vocab, info_.slots, logit_rows};
  require_memory(source, config, info_.kv_pages * info_.page_bytes, readout, info_.max_model_len,
                 *backend_);

  weights_ = pack_weights(source, config.quantize, *backend_, progress);
  rotary_ = backend_->make_rotary(model_, info_.max_model_len);
  kv_ = backend_->make_kv_cache(model_.layers, Llama::attention_shape(model_, 0), info_.kv_pages);
  readout_ = backend_->make_readout(readout);
  const AdapterOptions adapter_options{.memory_budget = config.adapter_memory,
                                       .max_resident = config.max_loaded_adapters,
                                       .experts = config.experts,
                                       .device_budget = config.gpu_adapter_memory};
  adapters_ = std::make_unique<Adapters>(model_, adapter_options, *backend_);
  backend_->reserve(model_, step_sizes(config, info_.max_model_len));
  if (config.profile) {
    profile_ = std::make_unique<Profile>();
    profiled_ = std::make_unique<ProfiledBackend>(*backend_, weights_, *profile_);
  }
  Backend& graph_backend = profiled_ ? static_cast<Backend&>(*profiled_) : *backend_;
  llama_ = std::make_unique<Llama>(model_, weights_, graph_backend, *kv_, *rotary_, *adapters_,
                                   config.max_batch_tokens);

  info_.family = model_.family;
  info_.layers = model_.layers;
  info_.width = model_.width;
  info_.vocab = model_.vocab;
  info_.stop_tokens = model_.stop_tokens;
  info_.device = backend_->device();
  info_.kernel_path = backend_->path();
  info_.threads = backend_->threads().size();
  info_.parameters = weights_.parameters;
  info_.weight_bytes = weights_.bytes;

  check_ = std::make_unique<StepCheck>(StepBounds{.limits = info_.limits,
                                                  .vocab = info_.vocab,
                                                  .kv_pages = info_.kv_pages,
                                                  .max_model_len = info_.max_model_len,
                                                  .slots = info_.slots});
  rows_ = std::make_unique<StepRows>(info_.limits, info_.slots, readout_->slot_tokens());
}

void Engine::launch(const StepInput& in, const StepOutput& out,
                    const std::function<void()>& settle) {
  SMORE_CHECK(launched_.size() < kStepsAhead, "more steps ahead than arrays for them");
  Launched launched{.begun = clock_seconds(), .rows = in.counts->rows};
  check_->check(in);
  rows_->build(in);
  step_adapters_.build(in, out, *adapters_, info_.limits.layer_words, rows_->adapters());
  const AdapterUse use(*adapters_, rows_->adapters());
  if (!launched_.empty() && (profile_ || adapters_->waits())) settle();
  profiled(kStageAdapters, [&] {
    readout_->begin(in, out, rows_->wanted());
    fail_sequences(in, llama_->forward(rows_->model_step()));
  });
  const AdapterTraffic traffic = adapters_->take_traffic();
  const double logits = static_cast<double>(rows_->wanted().size()) * info_.vocab;
  if (profile_) {
    profile_->add(kStageAdapters, 0, traffic.bytes, traffic.operations);
    profile_->add(kStageSampling, 0, sizeof(float) * logits, 0);
  }
  profiled(kStageSampling, [&] {
    read_logits();
    pool_states(in);
    readout_->end();
  });
  launched.base_passes = std::ceil(llama_->take_passes());
  launched.wanted_rows = static_cast<int>(rows_->wanted().size());
  launched.adapter_rows = step_adapters_.row_count();
  launched_.push_back(launched);
}

void Engine::finish() {
  const Launched launched = launched_.front();
  launched_.pop_front();
  const double begun = std::max(launched.begun, finished_at_);  // steps may overlap
  readout_->finish();
  finished_at_ = clock_seconds();
  count(kStatSteps, 1);
  count(kStatBasePasses, launched.base_passes);
  count(kStatRows, launched.rows);
  count(kStatSampledRows, launched.wanted_rows);
  count(kStatAdapterRows, launched.adapter_rows);
  count(kStatStepSeconds, finished_at_ - begun);
}

// Runs a part of a step. What its ops did not take was for `rest`: adapters and sampling are no ops
// of the backend.
template <class Work>
void Engine::profiled(Stage rest, Work&& work) {
  if (!profile_) return work();
  const double begin = clock_seconds() - profile_->total_seconds();
  work();
  backend_->wait();
  profile_->add(rest, clock_seconds() - profile_->total_seconds() - begin, 0, 0);
}

void Engine::fail_sequences(const StepInput& in, const std::vector<int>& failed_adapters) {
  failed_.clear();
  for (int b = 0; b < in.counts->sequences; ++b) {
    const int32_t* own = in.adapter + in.adapter_start[b];
    const int32_t* end = in.adapter + in.adapter_start[b + 1];
    if (std::find_first_of(own, end, failed_adapters.begin(), failed_adapters.end()) != end) {
      failed_.push_back(b);
    }
  }
  if (!failed_.empty()) readout_->fail(failed_);
}

void Engine::read_logits() {
  const std::span<const WantedRow> wanted = rows_->wanted();
  const size_t at_once = llama_->max_logit_rows();
  for (size_t first = 0; first < wanted.size(); first += at_once) {
    const size_t count = std::min(at_once, wanted.size() - first);
    const float* logits = llama_->logits(wanted.subspan(first, count));
    readout_->read(static_cast<int>(first), static_cast<int>(count), logits);
  }
}

void Engine::pool_states(const StepInput& in) {
  if (rows_->pooled().empty()) return;
  pooled_.clear();
  for (const int32_t b : rows_->pooled()) {
    const int row = in.row_start[b];
    pooled_.push_back({b, llama_->state_row(row), in.row_start[b + 1] - row});
  }
  readout_->pool(pooled_, llama_->states());
}

void Engine::count(StatIndex index, double amount) {
  std::atomic<double>& counter = counters_[index];
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

void Engine::stats(double* target) const {
  for (int i = 0; i < kStatCount; ++i) target[i] = counters_[i].load(std::memory_order_relaxed);
  target[kStatWeightBytes] = static_cast<double>(info_.weight_bytes);
  target[kStatKvBytes] =
      static_cast<double>(info_.kv_pages) * static_cast<double>(info_.page_bytes);
  adapters_->stats(target);
  backend_->stats(target);
}

}  // namespace smore
