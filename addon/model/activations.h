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
    // More rows of logits than this are computed in several products.
    const int64_t fit = kLogitBytes / (int64_t{config.vocab} * int64_t{sizeof(float)});
    logit_rows = static_cast<int>(std::clamp<int64_t>(fit, 1, rows));
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

  static Buffer take(int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(float);
    void* memory =
        std::aligned_alloc(kCacheLine, (bytes + kCacheLine - 1) / kCacheLine * kCacheLine);
    if (memory == nullptr) throw std::bad_alloc();
    return Buffer(static_cast<float*>(memory));
  }
};

}  // namespace smore
