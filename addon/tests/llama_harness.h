#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "model/llama.h"
#include "model/weights.h"
#include "residual/adapters.h"
#include "tests/kernel_cases.h"

namespace smore {

// Rows of one sequence in a step of the harness.
struct Piece {
  std::vector<int32_t> tokens;
  int context = 0;             // positions computed before
  std::vector<int32_t> pages;  // of the whole sequence
  int adapter = 0;
};

// The graph with everything under it but the engine, so that tests see whole rows of logits.
class LlamaHarness {
 public:
  LlamaHarness(const std::string& model, const BackendOptions& options, int max_rows, int kv_pages,
               Quantize quantize = Quantize::kNone, int loud_channel = -1)
      : LlamaHarness(model,
                     kernel_cases::backend(options.path, options.activations, options.threads),
                     max_rows, kv_pages, quantize, loud_channel) {}

  LlamaHarness(const std::string& model, std::unique_ptr<Backend> backend, int max_rows,
               int kv_pages, Quantize quantize = Quantize::kNone, int loud_channel = -1)
      : source_(open_model(model)), backend_(std::move(backend)) {
    config_ = source_.config;
    if (loud_channel >= 0) amplify(loud_channel);
    first_norm_ = source_.layers[0].attention_norm;
    weights_ =
        pack_weights(source_, quantize, *backend_, [](uint64_t, uint64_t, const std::string&) {});
    rotary_ = backend_->make_rotary(config_, config_.max_position);
    kv_ = backend_->make_kv_cache(config_.layers, Llama::attention_shape(config_, 0), kv_pages);
    adapters_ = std::make_unique<Adapters>(
        config_,
        AdapterOptions{.memory_budget = 64 << 20, .max_resident = 8, .device_budget = 64 << 20},
        *backend_);
    llama_ =
        std::make_unique<Llama>(config_, weights_, *backend_, *kv_, *rotary_, *adapters_, max_rows);
  }

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  const std::vector<float>& first_norm() const { return first_norm_; }
  Backend& backend() { return *backend_; }
  double take_passes() { return llama_->take_passes(); }

  // Loads an adapter and keeps it resident.
  int adapter(const std::string& folder) {
    const int handle = adapters_->add(folder);
    return adapters_->acquire(handle) ? handle : -1;
  }

  // Logits of every row of every piece, [rows][V]; or of their last rows, the only needed ones.
  std::vector<std::vector<float>> run(std::span<const Piece> pieces, bool last_only = false) {
    std::vector<int32_t> tokens, positions, row_sequence, row_start{0}, context, blocks;
    std::vector<int32_t> block_start{0};
    std::vector<WantedRow> wanted;
    ModelStep step;
    for (int b = 0; b < static_cast<int>(pieces.size()); ++b) {
      const Piece& piece = pieces[b];
      if (piece.adapter != 0) step.adapters.groups.push_back({piece.adapter, {}});
      for (size_t i = 0; i < piece.tokens.size(); ++i) {
        const int row = static_cast<int>(tokens.size());
        if (!last_only || i + 1 == piece.tokens.size()) wanted.push_back({row, b, false});
        if (piece.adapter != 0) step.adapters.groups.back().rows.push_back(row);
        tokens.push_back(piece.tokens[i]);
        positions.push_back(piece.context + static_cast<int>(i));
        row_sequence.push_back(b);
      }
      row_start.push_back(static_cast<int>(tokens.size()));
      context.push_back(piece.context);
      blocks.insert(blocks.end(), piece.pages.begin(), piece.pages.end());
      block_start.push_back(static_cast<int>(blocks.size()));
    }
    merge_groups(step.adapters.groups);
    step.tokens = {tokens.data()};
    step.attention = {.rows = static_cast<int>(tokens.size()),
                      .sequences = static_cast<int>(pieces.size()),
                      .row_start = row_start.data(),
                      .row_sequence = row_sequence.data(),
                      .context = context.data(),
                      .block_start = block_start.data(),
                      .blocks = blocks.data(),
                      .positions = positions.data()};
    std::vector<int32_t> needed;
    for (const WantedRow& row : wanted) needed.push_back(row.row);
    if (last_only) step.needed = needed;
    const AdapterUse use(*adapters_, step.adapters);
    llama_->forward(step);
    std::vector<std::vector<float>> rows;
    for (const WantedRow& row : wanted) {
      const float* logits = backend_->to_host(llama_->logits({&row, 1}), config_.vocab);
      rows.emplace_back(logits, logits + config_.vocab);
    }
    return rows;
  }

 private:
  // Makes this channel loud in what the linears read, as some are in trained models.
  void amplify(int channel) {
    for (LayerSource& layer : source_.layers) {
      layer.attention_norm[channel] *= 10;
      layer.ffn_norm[channel] *= 10;
    }
  }

  static void merge_groups(std::vector<AdapterRows::Group>& groups) {
    for (size_t i = 0; i < groups.size(); ++i) {
      for (size_t j = groups.size(); j-- > i + 1;) {
        if (groups[j].handle != groups[i].handle) continue;
        groups[i].rows.insert(groups[i].rows.end(), groups[j].rows.begin(), groups[j].rows.end());
        groups.erase(groups.begin() + static_cast<int64_t>(j));
      }
      std::sort(groups[i].rows.begin(), groups[i].rows.end());
    }
  }

  ModelSource source_;
  std::unique_ptr<Backend> backend_;
  ModelConfig config_;
  std::vector<float> first_norm_;  // of the first layer's attention
  ModelWeights weights_;
  std::unique_ptr<RotaryTable> rotary_;
  std::unique_ptr<KvCache> kv_;
  std::unique_ptr<Adapters> adapters_;
  std::unique_ptr<Llama> llama_;
};

// Index of the largest value, the lowest among equals.
inline int32_t argmax(std::span<const float> values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace smore
