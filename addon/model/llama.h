#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "backends/readout.h"
#include "model/activations.h"
#include "model/weights.h"
#include "residual/adapters.h"

namespace smore {

// The rows of one step, as the graph sees them.
struct ModelStep {
  TokenRows tokens;
  AttentionStep attention;
  AdapterRows adapters;
  // Rows, rising, whose states or logits will be asked for: the others end once the last layer has
  // their keys and values. None = all.
  std::optional<std::span<const int32_t>> needed = std::nullopt;
};

// The graph of a Llama-like decoder, written once for every family: it asks the configuration for
// features. Owns the intermediates; weights and cache belong to the engine and outlive it.
class Llama {
 public:
  Llama(const ModelConfig& config, const ModelWeights& weights, Backend& backend, KvCache& kv,
        const RotaryTable& rotary, Adapters& adapters, int max_rows);

  // Attention of a layer, as this model has it.
  static AttentionShape attention_shape(const ModelConfig& config, int layer);

  // Runs every row through all layers and writes its keys and values to the cache. Has the step's
  // arrays placed. Returns adapters whose pages could not be read: the results of their rows mean
  // nothing.
  std::vector<int> forward(ModelStep& step);

  // What the products with the layers' weights have read since the last call, as passes over all of
  // them: 1 for a forward, less where the end of the last layer is needed for no row.
  double take_passes();

  // Rows of logits that one call of `logits` computes at most.
  int max_logit_rows() const { return activations_.logit_rows; }

  // What the output layer reads of all needed rows of the last forward, [.., D]; where the
  // backend's ops find it, valid until the next call of this or of another method.
  const float* states();
  // Which of them has this row.
  int state_row(int row) const;

  // Logits of these rows of the last forward, [rows, V], likewise.
  const float* logits(std::span<const WantedRow> wanted);

 private:
  void begin(ModelStep& step);
  void store_keys(int layer, const ModelStep& step);
  void attend(int layer, const ModelStep& step);
  void ffn_block(int layer, const ModelStep& step);
  void product(const Matrix& w, const float* x, int rows, float* y);
  void product_of_stream(const Matrix& w, const Buffer& norm, const ModelStep& step,
                         const float* bias, float* y);
  void adapt(int layer, std::initializer_list<SiteOutput> outputs, const ModelStep& step,
             const float* x, int x_width);
  void plan_kept(const ModelStep& step);
  void keep_needed();
  void add_to_stream(const Buffer& post_norm, int rows);

  const ModelConfig& config_;
  const ModelWeights& weights_;
  Backend& backend_;
  KvCache& kv_;
  const RotaryTable& rotary_;
  Adapters& adapters_;
  Activations activations_;
  const float* added_ = nullptr;  // what is still to be added to x; or null
  double layer_bytes_ = 0;        // of the layers' matrices
  double read_bytes_ = 0;         // of matrices, each time that one is multiplied
  std::vector<int> failed_;       // adapters that failed in the running forward
  // Rows of the last forward that lie at the front of x, and the step of these alone.
  // Meaningless when all rows were needed.
  struct Kept {
    std::vector<int32_t> rows;
    std::vector<int32_t> positions;     // of rows
    std::vector<int32_t> row_sequence;  // of rows
    std::vector<int32_t> row_start;     // B + 1
    ModelStep step;
  };
  Kept kept_;
  bool all_kept_ = true;
  int last_rows_ = 0;                // of the last forward that x has
  std::vector<int32_t> logit_rows_;  // of the running call of logits
};

}  // namespace smore
