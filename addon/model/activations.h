#pragma once

#include <algorithm>
#include <cstdint>

#include "backends/backend.h"
#include "model/config.h"

namespace smore {

// Every intermediate of a step, allocated once at its largest and used from the front.
class Activations {
 public:
  Activations(const ModelConfig& config, int rows, Backend& backend) {
    logit_rows = fitting_logit_rows(config, rows);
    const int64_t t = rows;
    x = backend.take(t * config.width);
    normed = backend.take(t * config.width);
    projected = backend.take(t * config.width);
    qkv = backend.take(t * (config.heads + 2 * config.kv_heads) * config.head_dim);
    attended = backend.take(t * config.heads * config.head_dim);
    gate_up = backend.take(t * 2 * config.ffn_width);
    ffn = backend.take(t * config.ffn_width);
    gathered = backend.take(int64_t{logit_rows} * config.width);
    logits = backend.take(int64_t{logit_rows} * config.vocab);
  }

  // What all of them take once every page was reached.
  static uint64_t bytes(const ModelConfig& config, int rows) {
    const int64_t heads = 2 * (int64_t{config.heads} + config.kv_heads);
    const int64_t row =
        3 * int64_t{config.width} + heads * config.head_dim + 3 * int64_t{config.ffn_width};
    const int64_t logit_row = int64_t{config.width} + config.vocab;
    return sizeof(float) * (rows * row + fitting_logit_rows(config, rows) * logit_row);
  }

  // Rows of logits that are computed at a time.
  static int fitting_logit_rows(const ModelConfig& config, int rows) {
    const int64_t fit = kLogitBytes / (int64_t{config.vocab} * int64_t{sizeof(float)});
    return static_cast<int>(std::clamp<int64_t>(fit, 1, rows));
  }

  int logit_rows;    // S: rows of logits that one product makes
  Buffer x;          // T D: the residual stream
  Buffer normed;     // T D: what the linears read
  Buffer projected;  // T D: what o and down write
  Buffer qkv;        // T (H + 2 K) d
  Buffer attended;   // T H d
  Buffer gate_up;    // T 2 F
  Buffer ffn;        // T F
  Buffer gathered;   // S D: rows whose logits are wanted
  Buffer logits;     // S V

 private:
  static constexpr int64_t kLogitBytes = int64_t{64} << 20;
};

}  // namespace smore
