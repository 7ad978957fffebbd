#include "engine/profile.h"

#include "backends/readout.h"
#include "residual/adapter_step.h"

namespace smore {

void Profile::add(Stage stage, double seconds, double bytes, double operations) {
  const double figures[kStageFigures] = {seconds, bytes, operations};
  for (int i = 0; i < kStageFigures; ++i) {
    std::atomic<double>& sum = sums_[stage * kStageFigures + i];
    sum.store(sum.load(std::memory_order_relaxed) + figures[i], std::memory_order_relaxed);
  }
  total_seconds_ += seconds;
}

void Profile::fill(double* target) const {
  for (const std::atomic<double>& sum : sums_) *target++ = sum.load(std::memory_order_relaxed);
}

ProfiledBackend::ProfiledBackend(Backend& inner, const ModelWeights& weights, Profile& profile)
    : inner_(inner), profile_(profile), layers_(static_cast<double>(weights.layers.size())) {
  for (const LayerWeights& layer : weights.layers) {
    stages_[layer.qkv.get()] = kStageQkv;
    stages_[layer.o.get()] = kStageO;
    stages_[layer.gate_up.get()] = kStageGateUp;
    stages_[layer.down.get()] = kStageDown;
  }
  stages_[&weights.output()] = kStageOutput;
}

template <class Op>
void ProfiledBackend::time(Stage stage, double bytes, double operations, Op&& op) {
  const double begin = clock_seconds();
  op();
  inner_.wait();
  profile_.add(stage, clock_seconds() - begin, bytes, operations);
}

const float* ProfiledBackend::to_host(const float* x, int64_t count) {
  return inner_.to_host(x, count);
}

std::unique_ptr<Matrix> ProfiledBackend::pack(std::span<const MatrixSource> parts) {
  return inner_.pack(parts);
}

std::unique_ptr<RotaryTable> ProfiledBackend::make_rotary(const ModelConfig& config,
                                                          int positions) {
  return inner_.make_rotary(config, positions);
}

std::unique_ptr<KvCache> ProfiledBackend::make_kv_cache(int layers, const AttentionShape& shape,
                                                        int pages) {
  return inner_.make_kv_cache(layers, shape, pages);
}

std::unique_ptr<AdapterStep> ProfiledBackend::make_adapter_step(ExpertCache& host,
                                                                const AdapterOptions& options) {
  return inner_.make_adapter_step(host, options);
}

std::unique_ptr<Readout> ProfiledBackend::make_readout(const ReadoutShape& shape) {
  return inner_.make_readout(shape);
}

void ProfiledBackend::embed(const Matrix& table, const TokenRows& tokens, int rows, float scale,
                            float* x) {
  const double row = static_cast<double>(table.bytes()) / static_cast<double>(table.rows());
  time(kStageEmbed, rows * (row + static_cast<double>(table.columns()) * 4), 0,
       [&] { inner_.embed(table, tokens, rows, scale, x); });
}

void ProfiledBackend::gather(const float* x, std::span<const int32_t> rows, int64_t width,
                             float* y) {
  inner_.gather(x, rows, width, y);
}

void ProfiledBackend::rms_norm(const float* x, const float* weight, int rows, int width, float eps,
                               float* y) {
  const double values = double(rows) * width;
  time(kStageNorm, 8 * values, 4 * values,
       [&] { inner_.rms_norm(x, weight, rows, width, eps, y); });
}

// Of a product and what its rows are made of.
template <class Op>
void ProfiledBackend::time_product(const Matrix& w, int rows, double more_bytes,
                                   double more_operations, Op&& op) {
  const double in = static_cast<double>(w.columns()), out = static_cast<double>(w.rows());
  time(stages_.at(&w), static_cast<double>(w.bytes()) + 4 * rows * (in + out) + more_bytes,
       2 * rows * in * out + more_operations, op);
}

void ProfiledBackend::matmul(const Matrix& w, const float* x, int rows, const float* bias,
                             float* y) {
  time_product(w, rows, 0, 0, [&] { inner_.matmul(w, x, rows, bias, y); });
}

void ProfiledBackend::normed_matmul(const Matrix& w, const NormedRows& in, int rows,
                                    const float* bias, float* y) {
  const double values = double(rows) * static_cast<double>(w.columns());
  time_product(w, rows, (in.added ? 8 : 0) * values, (in.added ? 5 : 4) * values,
               [&] { inner_.normed_matmul(w, in, rows, bias, y); });
}

void ProfiledBackend::gated_matmul(const Matrix& w, const GatedRows& in, int rows, float* y) {
  const double values = double(rows) * static_cast<double>(w.columns());
  time_product(w, rows, 4 * values, 0, [&] { inner_.gated_matmul(w, in, rows, y); });
}

void ProfiledBackend::rotate_and_store(KvCache& kv, int layer, const AttentionShape& shape,
                                       const RotaryTable& rotary, const AttentionStep& step,
                                       const float* q_norm, const float* k_norm, float eps,
                                       float* qkv) {
  const double values = double(step.rows) * (shape.heads + shape.kv_heads) * shape.head_dim;
  time(kStageRotary, 8 * values, 3 * values,
       [&] { inner_.rotate_and_store(kv, layer, shape, rotary, step, q_norm, k_norm, eps, qkv); });
}

void ProfiledBackend::attention(const KvCache& kv, int layer, const AttentionShape& shape,
                                const AttentionStep& step, const float* qkv, float* y) {
  double cached = 0;  // positions whose keys and values are read
  double seen = 0;    // the same, once per row
  for (int b = 0; b < step.sequences; ++b) {
    if (step.row_start[b] == step.row_start[b + 1]) continue;
    for (int t = step.row_start[b]; t < step.row_start[b + 1]; ++t) seen += step.positions[t] + 1;
    cached += step.positions[step.row_start[b + 1] - 1] + 1;
  }
  const double position_bytes = static_cast<double>(kv.page_bytes()) / kPageTokens / layers_;
  time(kStageAttention, cached * position_bytes, 4 * seen * shape.heads * shape.head_dim,
       [&] { inner_.attention(kv, layer, shape, step, qkv, y); });
}

void ProfiledBackend::gated_activation(Activation activation, const float* gate_up, int rows,
                                       int ffn_width, float* y) {
  inner_.gated_activation(activation, gate_up, rows, ffn_width, y);
}

void ProfiledBackend::add(float* x, const float* y, int64_t count) {
  const double values = static_cast<double>(count);
  time(kStageAdd, 12 * values, values, [&] { inner_.add(x, y, count); });
}

void ProfiledBackend::softcap(float cap, float* x, int64_t count) {
  time(kStageOutput, 8 * static_cast<double>(count), 0, [&] { inner_.softcap(cap, x, count); });
}

}  // namespace smore
