#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "model/quantize.h"
#include "model/source.h"

namespace smore {

// One decoder layer. Linears that read the same input are one matrix; null buffers are features
// that the family does not have.
struct LayerWeights {
  Buffer attention_norm;            // D
  std::unique_ptr<Matrix> qkv;      // {(H + 2 K) d, D}
  Buffer qkv_bias;                  // (H + 2 K) d
  Buffer q_norm, k_norm;            // d
  std::unique_ptr<Matrix> o;        // {D, H d}
  Buffer post_attention_norm;       // D
  Buffer ffn_norm;                  // D
  std::unique_ptr<Matrix> gate_up;  // {2 F, D}
  std::unique_ptr<Matrix> down;     // {D, F}
  Buffer post_ffn_norm;             // D
};

// The base model, packed for its backend. Immutable once loaded.
struct ModelWeights {
  std::unique_ptr<Matrix> embedding;  // {V, D}
  std::unique_ptr<Matrix> lm_head;    // {V, D}; null = tied
  Buffer final_norm;                  // D
  std::vector<LayerWeights> layers;
  size_t bytes = 0;
  int64_t parameters = 0;

  const Matrix& output() const { return lm_head ? *lm_head : *embedding; }
};

// Called with the bytes of the file that are packed. May throw to give up.
using Progress = std::function<void(uint64_t done, uint64_t total, const std::string& what)>;

// Memory that the packed weights will take, to judge before packing whether they fit.
uint64_t estimate_weight_bytes(const ModelSource& source, Quantize target);

// Packs every matrix, one after the other and each on all threads, and gives its file pages back at
// once: memory peaks at the packed model and one matrix.
ModelWeights pack_weights(ModelSource& source, Quantize target, Backend& backend,
                          const Progress& progress);

}  // namespace smore
