#include "model/source.h"

#include <cstring>
#include <filesystem>

#include "core/error.h"
#include "io/gguf.h"
#include "model/source_config.h"
#include "model/source_files.h"
#include "model/source_tensors.h"

namespace smore {
namespace {

constexpr TensorNames kHfNames = {
    .embedding = "model.embed_tokens.weight",
    .lm_head = "lm_head.weight",
    .final_norm = "model.norm.weight",
    .layer = "model.layers.",
    .attention_norm = "input_layernorm.weight",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .o = "self_attn.o_proj",
    .q_norm = "self_attn.q_norm.weight",
    .k_norm = "self_attn.k_norm.weight",
    .ffn_norm = "post_attention_layernorm.weight",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
    .post_attention_norm = nullptr,
    .post_ffn_norm = nullptr,
};

// Gemma-2 gives the name of Llama's norm before the FFN to the one after attention.
constexpr TensorNames kHfPostNormNames = [] {
  TensorNames names = kHfNames;
  names.post_attention_norm = "post_attention_layernorm.weight";
  names.ffn_norm = "pre_feedforward_layernorm.weight";
  names.post_ffn_norm = "post_feedforward_layernorm.weight";
  return names;
}();

constexpr TensorNames kGgufNames = {
    .embedding = "token_embd.weight",
    .lm_head = "output.weight",
    .final_norm = "output_norm.weight",
    .layer = "blk.",
    .attention_norm = "attn_norm.weight",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .o = "attn_output",
    .q_norm = "attn_q_norm.weight",
    .k_norm = "attn_k_norm.weight",
    .ffn_norm = "ffn_norm.weight",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
    .post_attention_norm = "post_attention_norm.weight",
    .post_ffn_norm = "post_ffw_norm.weight",
};

// Some writers store tied weights twice. Then the copies must be the same.
void check_tied_copy(SourceTensors& tensors, const std::string& where) {
  if (!tensors.has(kHfNames.lm_head)) return;
  const TensorView& head = tensors.peek(kHfNames.lm_head);
  const TensorView& embedding = tensors.peek(kHfNames.embedding);
  if (head.dtype != embedding.dtype || head.shape != embedding.shape ||
      std::memcmp(head.data, embedding.data, head.bytes()) != 0) {
    throw Error(ErrorCode::kInvalidModel, where + ": tensor lm_head.weight differs from " +
                                              embedding.name +
                                              ", but config.json ties them (tie_word_embeddings)");
  }
  tensors.ignore(kHfNames.lm_head);
}

void add_one(VectorSource& weights) {
  for (float& weight : weights) weight += 1;
}

ModelSource open_hf_folder(const std::string& folder) {
  ModelSource source;
  StatedConfig stated = read_hf_config(folder);
  source.config = std::move(stated.config);
  SourceTensors tensors(folder);
  for (const SafetensorsFile& opened : open_weight_files(folder)) {
    for (const TensorView& tensor : opened.content.tensors) tensors.add(tensor, *opened.file);
    source.file_bytes += opened.file->bytes().size();
    source.files.push_back(opened.file);
  }
  const Family& family = *stated.family;
  read_model_tensors(tensors, family.post_norms ? kHfPostNormNames : kHfNames, family, stated.tied,
                     false, source);
  if (stated.tied) check_tied_copy(tensors, folder);
  if (family.post_norms) {
    add_one(source.final_norm);
    for (LayerSource& layer : source.layers) {
      for (VectorSource* norm : {&layer.attention_norm, &layer.post_attention_norm, &layer.ffn_norm,
                                 &layer.post_ffn_norm}) {
        add_one(*norm);
      }
    }
  }
  tensors.refuse_unread({"rotary_emb.inv_freq"});
  tensors.refuse_non_finite();
  return source;
}

ModelSource open_gguf_model(const std::string& path) {
  const GgufFile opened = open_gguf(path);
  ModelSource source;
  StatedConfig stated = read_gguf_config(opened.content, path);
  source.config = std::move(stated.config);
  source.file_bytes = opened.file->bytes().size();
  source.files.push_back(opened.file);
  SourceTensors tensors(path);
  for (const TensorView& tensor : opened.content.tensors) tensors.add(tensor, *opened.file);
  const Family& family = *stated.family;
  read_model_tensors(tensors, kGgufNames, family, stated.tied, family.interleaved_in_gguf, source);
  if (tensors.has("rope_freqs.weight")) {
    source.config.rope_factors = tensors.vector("rope_freqs.weight", source.config.head_dim / 2);
    check_config(source.config, path);
  }
  tensors.refuse_unread({".attn_rot_embd", ".rotary_emb.inv_freq"});
  tensors.refuse_non_finite();
  return source;
}

}  // namespace

void ModelSource::release(const TensorView& tensor) const {
  for (const auto& file : files) {
    if (file->contains(tensor.data)) file->release(tensor.data, tensor.bytes());
  }
}

ModelSource open_model(const std::string& path) {
  std::error_code unreadable;  // then opening it as a file says why
  if (std::filesystem::is_directory(path, unreadable)) return open_hf_folder(path);
  return open_gguf_model(path);
}

}  // namespace smore
