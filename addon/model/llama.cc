#include "model/llama.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/check.h"

namespace smore {

Llama::Llama(const ModelConfig& config, const ModelWeights& weights, Backend& backend, KvCache& kv,
             const RotaryTable& rotary, Adapters& adapters, int max_rows)
    : config_(config),
      weights_(weights),
      backend_(backend),
      kv_(kv),
      rotary_(rotary),
      adapters_(adapters),
      activations_(config, max_rows, backend) {
  for (const LayerWeights& layer : weights_.layers) {
    for (const auto* matrix : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down}) {
      layer_bytes_ += static_cast<double>((*matrix)->bytes());
    }
  }
}

AttentionShape Llama::attention_shape(const ModelConfig& config, int layer) {
  const bool windowed = config.window_pattern == WindowPattern::kAll ||
                        (config.window_pattern == WindowPattern::kEvenLayers && layer % 2 == 0);
  return {.heads = config.heads,
          .kv_heads = config.kv_heads,
          .head_dim = config.head_dim,
          .query_scale = config.query_scale,
          .softcap = config.attention_softcap,
          .window = windowed ? config.sliding_window : 0};
}

std::vector<int> Llama::forward(ModelStep& step) {
  failed_.clear();
  begin(step);
  backend_.embed(*weights_.embedding, step.tokens, step.attention.rows, config_.embedding_scale,
                 activations_.x.get());
  added_ = nullptr;
  for (int layer = 0; layer < config_.layers; ++layer) {
    store_keys(layer, step);
    const bool whole = all_kept_ || layer + 1 < config_.layers;
    const ModelStep& rest = whole ? step : kept_.step;
    if (rest.attention.rows == 0) break;
    if (!whole) keep_needed();
    attend(layer, rest);
    ffn_block(layer, rest);
  }
  if (added_) backend_.add(activations_.x.get(), added_, int64_t{last_rows_} * config_.width);
  return failed_;
}

void Llama::begin(ModelStep& step) {
  all_kept_ = !step.needed || static_cast<int>(step.needed->size()) == step.attention.rows;
  last_rows_ = all_kept_ ? step.attention.rows : static_cast<int>(step.needed->size());
  if (!all_kept_) plan_kept(step);
  AttentionStep* const steps[] = {&step.attention, &kept_.step.attention};
  backend_.begin(std::span(steps).first(all_kept_ ? 1 : 2));
}

void Llama::store_keys(int layer, const ModelStep& step) {
  const LayerWeights& w = weights_.layers[layer];
  const AttentionShape shape = attention_shape(config_, layer);
  const int q_width = config_.heads * config_.head_dim;
  const int kv_width = config_.kv_heads * config_.head_dim;
  const int64_t stride = q_width + 2 * kv_width;
  Activations& a = activations_;
  float* qkv = a.qkv.get();

  product_of_stream(*w.qkv, w.attention_norm, step, w.qkv_bias.get(), qkv);
  adapt(layer,
        {{Site::kQ, qkv, stride},
         {Site::kK, qkv + q_width, stride},
         {Site::kV, qkv + q_width + kv_width, stride}},
        step, a.normed.get(), config_.width);
  backend_.rotate_and_store(kv_, layer, shape, rotary_, step.attention, w.q_norm.get(),
                            w.k_norm.get(), config_.norm_eps, qkv);
}

// The step of the needed rows alone.
void Llama::plan_kept(const ModelStep& step) {
  const AttentionStep& all = step.attention;
  Kept& k = kept_;
  k.rows.assign(step.needed->begin(), step.needed->end());
  k.positions.clear();
  k.row_sequence.clear();
  for (const int32_t row : k.rows) {
    k.positions.push_back(all.positions[row]);
    k.row_sequence.push_back(all.row_sequence[row]);
  }
  k.row_start.clear();
  for (int b = 0; b <= all.sequences; ++b) k.row_start.push_back(state_row(all.row_start[b]));
  k.step = {.tokens = nullptr, .attention = all, .adapters = {}, .needed = {}};
  k.step.attention.rows = static_cast<int>(k.rows.size());
  k.step.attention.row_start = k.row_start.data();
  k.step.attention.row_sequence = k.row_sequence.data();
  k.step.attention.positions = k.positions.data();
  for (const AdapterRows::Group& group : step.adapters.groups) {
    AdapterRows::Group kept{group.handle, {}, group.scale, group.turn, group.control};
    std::set_intersection(group.rows.begin(), group.rows.end(), k.rows.begin(), k.rows.end(),
                          std::back_inserter(kept.rows));
    for (int32_t& row : kept.rows) row = state_row(row);
    if (!kept.rows.empty()) k.step.adapters.groups.push_back(std::move(kept));
  }
  k.step.adapters.probes = step.adapters.probes;  // of rows that sample, which are needed
  for (RouteProbe& probe : k.step.adapters.probes) probe.row = state_row(probe.row);
}

// Brings what the rest of the last layer reads of the needed rows to the front.
void Llama::keep_needed() {
  const int64_t qkv_width = (config_.heads + 2 * config_.kv_heads) * config_.head_dim;
  Activations& a = activations_;
  backend_.gather(a.x.get(), kept_.rows, config_.width, a.x.get());
  backend_.gather(a.qkv.get(), kept_.rows, qkv_width, a.qkv.get());
}

// Where x has a row: kept rows before it.
int Llama::state_row(int row) const {
  if (all_kept_) return row;
  const auto found = std::lower_bound(kept_.rows.begin(), kept_.rows.end(), row);
  return static_cast<int>(found - kept_.rows.begin());
}

void Llama::attend(int layer, const ModelStep& step) {
  const LayerWeights& w = weights_.layers[layer];
  const int rows = step.attention.rows;
  Activations& a = activations_;

  backend_.attention(kv_, layer, attention_shape(config_, layer), step.attention, a.qkv.get(),
                     a.attended.get());
  product(*w.o, a.attended.get(), rows, a.projected.get());
  adapt(layer, {{Site::kO, a.projected.get(), config_.width}}, step, a.attended.get(),
        config_.heads * config_.head_dim);
  add_to_stream(w.post_attention_norm, rows);
}

void Llama::ffn_block(int layer, const ModelStep& step) {
  const LayerWeights& w = weights_.layers[layer];
  const int rows = step.attention.rows;
  const int64_t stride = 2 * config_.ffn_width;
  Activations& a = activations_;
  float* gate_up = a.gate_up.get();

  product_of_stream(*w.gate_up, w.ffn_norm, step, nullptr, gate_up);
  adapt(layer, {{Site::kGate, gate_up, stride}, {Site::kUp, gate_up + config_.ffn_width, stride}},
        step, a.normed.get(), config_.width);
  const GatedRows gated{config_.activation, gate_up, a.ffn.get(), !step.adapters.groups.empty()};
  backend_.gated_matmul(*w.down, gated, rows, a.projected.get());
  read_bytes_ += static_cast<double>(w.down->bytes());
  adapt(layer, {{Site::kDown, a.projected.get(), config_.width}}, step, a.ffn.get(),
        config_.ffn_width);
  add_to_stream(w.post_ffn_norm, rows);
}

double Llama::take_passes() { return std::exchange(read_bytes_, 0) / layer_bytes_; }

void Llama::product(const Matrix& w, const float* x, int rows, float* y) {
  backend_.matmul(w, x, rows, nullptr, y);
  read_bytes_ += static_cast<double>(w.bytes());
}

// Of the stream, once it has what the last block added to it, under a norm.
void Llama::product_of_stream(const Matrix& w, const Buffer& norm, const ModelStep& step,
                              const float* bias, float* y) {
  const NormedRows rows{
      activations_.x.get(), std::exchange(added_, nullptr), norm.get(),
      config_.norm_eps,     activations_.normed.get(),      !step.adapters.groups.empty()};
  backend_.normed_matmul(w, rows, step.attention.rows, bias, y);
  read_bytes_ += static_cast<double>(w.bytes());
}

void Llama::adapt(int layer, std::initializer_list<SiteOutput> outputs, const ModelStep& step,
                  const float* x, int x_width) {
  if (step.adapters.groups.empty()) return;
  const std::span<const SiteOutput> sites(outputs.begin(), outputs.size());
  for (const int handle : adapters_.apply(layer, sites, step.adapters, x, x_width)) {
    if (std::find(failed_.begin(), failed_.end(), handle) == failed_.end()) {
      failed_.push_back(handle);
    }
  }
}

// The next product of the stream adds it.
void Llama::add_to_stream(const Buffer& post_norm, int rows) {
  Activations& a = activations_;
  added_ = a.projected.get();
  if (!post_norm) return;
  backend_.rms_norm(added_, post_norm.get(), rows, config_.width, config_.norm_eps, a.normed.get());
  added_ = a.normed.get();
}

const float* Llama::states() {
  Activations& a = activations_;
  backend_.rms_norm(a.x.get(), weights_.final_norm.get(), last_rows_, config_.width,
                    config_.norm_eps, a.normed.get());
  return a.normed.get();
}

const float* Llama::logits(std::span<const WantedRow> wanted) {
  const int count = static_cast<int>(wanted.size());
  SMORE_CHECK(count <= max_logit_rows(), "more rows of logits than their buffer holds");
  Activations& a = activations_;
  logit_rows_.clear();
  for (const WantedRow& row : wanted) logit_rows_.push_back(state_row(row.row));
  backend_.gather(a.x.get(), logit_rows_, config_.width, a.gathered.get());
  backend_.rms_norm(a.gathered.get(), weights_.final_norm.get(), count, config_.width,
                    config_.norm_eps, a.normed.get());
  backend_.matmul(weights_.output(), a.normed.get(), count, nullptr, a.logits.get());
  if (config_.logit_softcap > 0) {
    backend_.softcap(config_.logit_softcap, a.logits.get(), int64_t{count} * config_.vocab);
  }
  return a.logits.get();
}

}  // namespace smore
