#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "io/mapped_file.h"
#include "model/config.h"

namespace smore {

// A matrix of the base model as its file holds it.
struct MatrixSource {
  TensorView tensor;  // {out, in}
  // > 0: rows of each of this many heads are in GGUF's interleaved rotary order (llama, mistral)
  // and are to be read as row 2 i -> i, 2 i + 1 -> i + head_dim / 2, so that one rotary kernel
  // serves all.
  int interleaved_heads = 0;
};

using VectorSource =
    std::vector<float>;  // norms and biases, converted; empty = the family has none

struct LayerSource {
  VectorSource attention_norm;  // D   (Gemma: 1 is already added)
  MatrixSource q, k, v, o;      // {H head_dim, D} {K head_dim, D} {K head_dim, D} {D, H head_dim}
  VectorSource q_bias, k_bias, v_bias;
  VectorSource q_norm, k_norm;       // head_dim (Qwen3)
  VectorSource post_attention_norm;  // D   (Gemma-2)
  VectorSource ffn_norm;             // D
  MatrixSource gate, up, down;       // {F, D} {F, D} {D, F}
  VectorSource post_ffn_norm;        // D   (Gemma-2)
};

// A base model opened from disk: configuration and views of every tensor by meaning. The views live
// in mapped files that this object keeps; nothing is converted but norms and biases.
struct ModelSource {
  ModelConfig config;
  MatrixSource embedding;               // {V, D}
  std::optional<MatrixSource> lm_head;  // {V, D}; none = tied to the embedding
  VectorSource final_norm;              // D
  std::vector<LayerSource> layers;      // L entries
  uint64_t file_bytes = 0;

  // Tells the kernel that a tensor's mapped pages are no longer needed (after it was repacked).
  void release(const TensorView& tensor) const;

  std::vector<std::shared_ptr<const MappedFile>> files;  // keep the mappings alive
};

// Opens a .gguf file or a Hugging Face folder (config.json + *.safetensors, sharded or not).
// Throws Error(kInvalidFile, kInvalidModel, kUnsupported, kIo); refuses missing, misshapen, unread
// and non-finite tensors by file and tensor name.
ModelSource open_model(const std::string& path);

}  // namespace smore
