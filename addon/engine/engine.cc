#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "attention/kv_pages.h"
#include "core/error.h"
#include "core/memory_text.h"
#include "engine/memory.h"
#include "engine/readout.h"

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
  return {
      .rows = config.max_batch_tokens, .sequences = config.max_batch, .positions = max_model_len};
}

void require_memory(const ModelSource& source, const EngineConfig& config, uint64_t kv_bytes,
                    int max_model_len, Backend& backend) {
  const std::optional<uint64_t> on_device = backend.free_memory();
  const uint64_t weights = estimate_weight_bytes(source, config.quantize);
  const uint64_t activations =
      Activations::bytes(source.config, config.max_batch_tokens) +
      backend.scratch_bytes(source.config, step_sizes(config, max_model_len));
  const uint64_t adapters = on_device ? config.gpu_adapter_memory : config.adapter_memory;
  uint64_t needed = 0;
  for (const uint64_t part : {weights, kv_bytes, adapters, activations}) {
    needed += std::min(part, UINT64_MAX - needed);
  }
  const uint64_t available = on_device.value_or(available_memory());
  if (needed <= available) return;
  const std::string where = on_device ? " of " + std::string(backend.device()) : "";
  const std::string adapters_part = ", adapters " + memory_text(adapters) +
                                    (on_device ? " (--gpu-adapter-memory)" : " (--adapter-memory)");
  throw Error(ErrorCode::kOutOfMemory,
              config.model_path + " does not fit in memory" + where + ": weights " +
                  memory_text(weights) + ", KV pages " + memory_text(kv_bytes) + " (--kv-memory)" +
                  adapters_part + " and activations with the ops' scratch memory " +
                  memory_text(activations) + " (--max-batch-tokens) of " + memory_text(available) +
                  " available");
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const EngineConfig& config, const Progress& progress) {
  check_config(config);
  std::unique_ptr<Backend> backend = make_backend(
      config.device,
      {.threads = config.threads, .activations = config.activations, .path = config.kernel_path});
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
  require_memory(source, config, info_.kv_pages * info_.page_bytes, info_.max_model_len, *backend_);

  weights_ = pack_weights(source, config.quantize, *backend_, progress);
  rotary_ = backend_->make_rotary(model_, info_.max_model_len);
  kv_ = backend_->make_kv_cache(model_.layers, Llama::attention_shape(model_, 0), info_.kv_pages);
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
  info_.limits = step_limits(config, info_.max_model_len, model_);
  info_.slots = 2 * config.max_batch;

  check_ = std::make_unique<StepCheck>(StepBounds{.limits = info_.limits,
                                                  .vocab = info_.vocab,
                                                  .kv_pages = info_.kv_pages,
                                                  .max_model_len = info_.max_model_len,
                                                  .slots = info_.slots});
  rows_ = std::make_unique<StepRows>(info_.limits);
  slots_.resize(info_.slots);
  wanted_.reserve(info_.limits.rows);
}

void Engine::step(const StepInput& in, const StepOutput& out) {
  const auto start = std::chrono::steady_clock::now();
  check_->check(in);
  prepare_slots(in);
  rows_->build(in, slots_);
  step_adapters_.build(in, out, *adapters_, info_.limits.layer_words, rows_->adapters());
  profiled(kStageAdapters, [&] { set_statuses(in, llama_->forward(rows_->model_step()), out); });
  profiled(kStageSampling, [&] {
    read_logits(in, out);
    pool_states(in, out);
    backend_->wait();
  });

  count(kStatSteps, 1);
  count(kStatBasePasses, std::ceil(llama_->take_passes()));
  count(kStatRows, in.counts->rows);
  count(kStatSampledRows, static_cast<double>(wanted_.size()));
  count(kStatAdapterRows, step_adapters_.row_count());
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  count(kStatStepSeconds, taken.count());
}

// Runs a part of a step. What its ops did not take was for `rest`: adapters and sampling are no ops
// of the backend.
template <class Work>
void Engine::profiled(Stage rest, Work&& work) {
  if (!profile_) return work();
  const double begin = clock_seconds() - profile_->total_seconds();
  work();
  profile_->add(rest, clock_seconds() - profile_->total_seconds() - begin, 0, 0);
}

void Engine::prepare_slots(const StepInput& in) {
  for (int b = 0; b < in.counts->sequences; ++b) {
    Slot& slot = slots_[in.slot[b]];
    if (!(in.flags[b] & kRestoreHistory)) {
      if ((in.flags[b] & kPool) && slot.state_sum.empty()) {
        throw Error(ErrorCode::kInvalidArgument, "step: slot " + std::to_string(in.slot[b]) +
                                                     " of sequence " + std::to_string(b) +
                                                     " has pooled nothing to continue from");
      }
      continue;
    }
    slot.token = -1;
    slot.status = SequenceStatus::kOk;
    slot.history.clear();
    slot.state_sum.assign((in.flags[b] & kPool) ? info_.width : 0, 0.0f);
    if (!(in.flags[b] & kPenalties)) continue;
    const int32_t* token = in.history + in.history_start[b];
    const int32_t* end = in.history + in.history_start[b + 1];
    for (const int32_t* prompt_end = token + in.history_prompt[b]; token < prompt_end; ++token) {
      slot.history.add_prompt(*token);
    }
    for (; token < end; ++token) slot.history.add_sampled(*token);
  }
}

void Engine::set_statuses(const StepInput& in, const std::vector<int>& failed_adapters,
                          const StepOutput& out) {
  for (int b = 0; b < in.counts->sequences; ++b) {
    SequenceStatus& status = slots_[in.slot[b]].status;
    const int32_t* own = in.adapter + in.adapter_start[b];
    const int32_t* end = in.adapter + in.adapter_start[b + 1];
    const bool failed =
        std::find_first_of(own, end, failed_adapters.begin(), failed_adapters.end()) != end;
    if (failed && status == SequenceStatus::kOk) status = SequenceStatus::kAdapterFailed;
    out.status[b] = static_cast<int32_t>(status);
  }
}

void Engine::read_logits(const StepInput& in, const StepOutput& out) {
  wanted_.clear();
  for (const WantedRow& wanted : rows_->wanted()) {
    if (slots_[in.slot[wanted.sequence]].status == SequenceStatus::kOk) wanted_.push_back(wanted);
  }
  const size_t at_once = llama_->max_logit_rows();
  for (size_t begin = 0; begin < wanted_.size(); begin += at_once) {
    const std::span<const WantedRow> chunk = std::span<const WantedRow>(wanted_).subspan(
        begin, std::min(at_once, wanted_.size() - begin));
    const float* logits = llama_->logits(chunk);
    backend_->threads().for_each(static_cast<int64_t>(chunk.size()), [&](int64_t i) {
      const std::span<const float> row(logits + i * info_.vocab, info_.vocab);
      const int b = chunk[i].sequence;
      if (chunk[i].sample) {
        read_sampled_row(in, b, row, slots_[in.slot[b]], out);
      } else {
        read_prompt_row(in, chunk[i], row, out);
      }
    });
  }
}

void Engine::pool_states(const StepInput& in, const StepOutput& out) {
  for (int b = 0; b < in.counts->sequences; ++b) {
    Slot& slot = slots_[in.slot[b]];
    if (!(in.flags[b] & kPool) || slot.status != SequenceStatus::kOk) continue;
    const int row = in.row_start[b];
    const int rows = in.row_start[b + 1] - row;
    pool_rows(in, b, {llama_->states(row, rows), static_cast<size_t>(rows) * info_.width}, slot,
              out);
  }
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
