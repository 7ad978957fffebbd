#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "model/config.h"

namespace smore {

// Every intermediate of a step, allocated once at its largest and used from the front. Pages that
// no step has reached yet take no memory.
class Activations {
 public:
  Activations(const ModelConfig& config, int rows) {
    logit_rows = fitting_logit_rows(config, rows);
    const int64_t t = rows;
    x = take(t * config.width);
    normed = take(t * config.width);
    projected = take(t * config.width);
    qkv = take(t * (config.heads + 2 * config.kv_heads) * config.head_dim);
    attended = take(t * config.heads * config.head_dim);
    gate_up = take(t * 2 * config.ffn_width);
    ffn = take(t * config.ffn_width);
    gathered = take(int64_t{logit_rows} * config.width);
    logits = take(int64_t{logit_rows} * config.vocab);
  }

  // What all of them take once every page was reached.
  static uint64_t bytes(const ModelConfig& config, int rows) {
    const int64_t heads = 2 * (int64_t{config.heads} + config.kv_heads);
    const int64_t row =
        3 * int64_t{config.width} + heads * config.head_dim + 3 * int64_t{config.ffn_width};
    const int64_t logit_row = int64_t{config.width} + config.vocab;
    return sizeof(float) * (rows * row + fitting_logit_rows(config, rows) * logit_row);
  }

  struct Free {
    void operator()(float* buffer) const { std::free(buffer); }
  };
  using Buffer = std::unique_ptr<float[], Free>;

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
  static constexpr size_t kCacheLine = 64;

  // More rows of logits than this are computed in several products.
  static int fitting_logit_rows(const ModelConfig& config, int rows) {
    const int64_t fit = kLogitBytes / (int64_t{config.vocab} * int64_t{sizeof(float)});
    return static_cast<int>(std::clamp<int64_t>(fit, 1, rows));
  }

  static Buffer take(int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    void* memory =
        std::aligned_alloc(kCacheLine, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine);
    if (memory == nullptr) throw std::bad_alloc();
    return Buffer(static_cast<float*>(memory));
  }
};

}  // namespace smore
