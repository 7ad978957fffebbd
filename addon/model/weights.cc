#include "model/weights.h"

#include <initializer_list>
#include <utility>

namespace smore {

namespace {

class Packer {
 public:
  Packer(ModelSource& source, Quantize target, Backend& backend, const Progress& progress)
      : source_(source), target_(target), backend_(backend), progress_(progress) {}

  std::unique_ptr<Matrix> pack(const std::string& what, bool vocabulary,
                               std::initializer_list<const MatrixSource*> parts) {
    std::vector<QuantizedMatrix> owned;
    std::vector<MatrixSource> sources;
    for (const MatrixSource* part : parts) {
      owned.push_back(convert(*part, vocabulary));
      sources.push_back(owned.back().matrix);
    }
    std::unique_ptr<Matrix> matrix = backend_.pack(sources);
    for (const MatrixSource* part : parts) {
      source_.release(part->tensor);
      done_ += part->tensor.bytes();
      parameters_ += part->tensor.elements();
    }
    bytes_ += matrix->bytes();
    progress_(done_, source_.file_bytes, what);
    return matrix;
  }

  Buffer place(const VectorSource& vector) {
    parameters_ += static_cast<int64_t>(vector.size());
    bytes_ += vector.size() * sizeof(float);
    return backend_.place(vector);
  }

  size_t bytes() const { return bytes_; }
  int64_t parameters() const { return parameters_; }

 private:
  QuantizedMatrix convert(const MatrixSource& part, bool vocabulary) {
    const DType dtype = quantized_dtype(part.tensor, target_, vocabulary);
    if (dtype == part.tensor.dtype) return {part, {}};
    return quantize(part, dtype, backend_.threads());
  }

  ModelSource& source_;
  Quantize target_;
  Backend& backend_;
  const Progress& progress_;
  uint64_t done_ = 0;
  size_t bytes_ = 0;
  int64_t parameters_ = 0;
};

VectorSource fuse_biases(const LayerSource& layer) {
  VectorSource fused = layer.q_bias;
  fused.insert(fused.end(), layer.k_bias.begin(), layer.k_bias.end());
  fused.insert(fused.end(), layer.v_bias.begin(), layer.v_bias.end());
  return fused;
}

LayerWeights pack_layer(LayerSource& layer, const std::string& name, Packer& packer) {
  LayerWeights w;
  w.attention_norm = packer.place(layer.attention_norm);
  w.qkv = packer.pack(name, false, {&layer.q, &layer.k, &layer.v});
  w.qkv_bias = packer.place(fuse_biases(layer));
  w.q_norm = packer.place(layer.q_norm);
  w.k_norm = packer.place(layer.k_norm);
  w.o = packer.pack(name, false, {&layer.o});
  w.post_attention_norm = packer.place(layer.post_attention_norm);
  w.ffn_norm = packer.place(layer.ffn_norm);
  w.gate_up = packer.pack(name, false, {&layer.gate, &layer.up});
  w.down = packer.pack(name, false, {&layer.down});
  w.post_ffn_norm = packer.place(layer.post_ffn_norm);
  return w;
}

}  // namespace

uint64_t estimate_weight_bytes(const ModelSource& source, Quantize target) {
  uint64_t total = 0;
  const auto add = [&](const MatrixSource& m, bool vocabulary) {
    const int64_t columns = m.tensor.columns();
    total += row_bytes(quantized_dtype(m.tensor, target, vocabulary), columns) *
             static_cast<uint64_t>(m.tensor.elements() / columns);
  };
  add(source.embedding, true);
  if (source.lm_head) add(*source.lm_head, true);
  for (const LayerSource& layer : source.layers) {
    for (const MatrixSource* m :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      add(*m, false);
    }
  }
  return total;
}

ModelWeights pack_weights(ModelSource& source, Quantize target, Backend& backend,
                          const Progress& progress) {
  Packer packer(source, target, backend, progress);
  ModelWeights weights;
  weights.embedding = packer.pack("embedding", true, {&source.embedding});
  weights.layers.reserve(source.layers.size());
  for (size_t i = 0; i < source.layers.size(); ++i) {
    weights.layers.push_back(pack_layer(source.layers[i], "layer " + std::to_string(i), packer));
  }
  if (source.lm_head) weights.lm_head = packer.pack("output", true, {&*source.lm_head});
  weights.final_norm = packer.place(source.final_norm);
  weights.bytes = packer.bytes();
  weights.parameters = packer.parameters();
  return weights;
}

}  // namespace smore
