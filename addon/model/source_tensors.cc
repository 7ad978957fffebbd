#include "model/source_tensors.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "core/error.h"

namespace smore {
namespace {

constexpr size_t kScanBytes = size_t{4} << 20;
constexpr unsigned kScanThreads = 8;

std::string shape_text(std::initializer_list<int64_t> shape) {
  TensorView view;
  for (const int64_t extent : shape) view.shape[view.rank++] = extent;
  return smore::shape_text(view);
}

// A run of whole rows of one matrix, small enough to share a large one among threads.
struct Piece {
  const TensorView* tensor;
  int64_t first_row;
  int64_t rows;
};

int64_t first_non_finite(const Piece& piece) {
  const TensorView& tensor = *piece.tensor;
  const auto* data =
      static_cast<const uint8_t*>(tensor.data) +
      static_cast<size_t>(piece.first_row) * row_bytes(tensor.dtype, tensor.columns());
  const int64_t at = first_non_finite(tensor.dtype, data, piece.rows * tensor.columns());
  return at < 0 ? -1 : piece.first_row * tensor.columns() + at;
}

std::string at_text(const TensorView& tensor, int64_t index) {
  std::string text = std::to_string(index / tensor.columns()) + ", column " +
                     std::to_string(index % tensor.columns());
  return "row " + text;
}

}  // namespace

void SourceTensors::add(TensorView tensor, const MappedFile& file) {
  const std::string name = tensor.name;
  const auto [at, inserted] = tensors_.try_emplace(name, Entry{std::move(tensor), &file.path()});
  if (!inserted) {
    throw Error(ErrorCode::kInvalidModel,
                file.path() + ": tensor " + name + " is also in " + *at->second.file);
  }
  order_.push_back(&at->second);
}

void SourceTensors::refuse(const Entry& entry, const std::string& fault) {
  throw Error(ErrorCode::kInvalidModel,
              *entry.file + ": tensor " + entry.tensor.name + ": " + fault);
}

SourceTensors::Entry& SourceTensors::take(const std::string& name) {
  const auto at = tensors_.find(name);
  if (at == tensors_.end()) {
    throw Error(ErrorCode::kInvalidModel, where_ + ": tensor " + name + " is missing");
  }
  at->second.read = true;
  return at->second;
}

void SourceTensors::check_shape(const Entry& entry, std::initializer_list<int64_t> shape) const {
  const TensorView& tensor = entry.tensor;
  if (static_cast<size_t>(tensor.rank) != shape.size() ||
      !std::equal(shape.begin(), shape.end(), tensor.shape.begin())) {
    refuse(entry, "has shape " + smore::shape_text(tensor) + "; the configuration asks for " +
                      shape_text(shape));
  }
  if (tensor.dtype == DType::kI32) refuse(entry, "holds integers; expected floating-point weights");
}

TensorView SourceTensors::matrix(const std::string& name, int64_t rows, int64_t columns) {
  Entry& entry = take(name);
  check_shape(entry, {rows, columns});
  matrices_.push_back(&entry);
  return entry.tensor;
}

VectorSource SourceTensors::vector(const std::string& name, int64_t size) {
  Entry& entry = take(name);
  check_shape(entry, {size});
  const int64_t bad = smore::first_non_finite(entry.tensor.dtype, entry.tensor.data, size);
  if (bad >= 0) refuse(entry, "is not finite at index " + std::to_string(bad));
  return to_floats(entry.tensor);
}

void SourceTensors::ignore(const std::string& name) { take(name); }

const TensorView& SourceTensors::peek(const std::string& name) const {
  return tensors_.at(name).tensor;
}

void SourceTensors::refuse_unread(std::initializer_list<std::string_view> allowed) const {
  for (const Entry* entry : order_) {
    const std::string_view name = entry->tensor.name;
    const bool known = std::any_of(allowed.begin(), allowed.end(),
                                   [name](std::string_view end) { return name.ends_with(end); });
    if (!entry->read && !known) {
      refuse(*entry, "nothing in this architecture reads it; the file is of another model");
    }
  }
}

void SourceTensors::refuse_non_finite() const {
  std::vector<std::pair<const Entry*, Piece>> pieces;
  for (const Entry* entry : matrices_) {
    const TensorView& tensor = entry->tensor;
    const size_t row = row_bytes(tensor.dtype, tensor.columns());
    const auto step = static_cast<int64_t>(std::max<size_t>(1, kScanBytes / row));
    for (int64_t first = 0; first < tensor.shape[0]; first += step) {
      pieces.push_back({entry, {&tensor, first, std::min(step, tensor.shape[0] - first)}});
    }
  }
  std::atomic<size_t> next = 0;
  std::atomic<size_t> worst = pieces.size();  // the first bad piece, whichever thread found it
  const auto scan = [&] {
    for (size_t i = next++; i < worst; i = next++) {
      if (first_non_finite(pieces[i].second) < 0) continue;
      for (size_t seen = worst; i < seen && !worst.compare_exchange_weak(seen, i);) {
      }
    }
  };
  {
    const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 1u, kScanThreads);
    std::vector<std::jthread> helpers;
    for (unsigned i = 1; i < threads; ++i) helpers.emplace_back(scan);
    scan();
  }
  if (worst == pieces.size()) return;
  const auto& [entry, piece] = pieces[worst];
  refuse(*entry,
         "holds a value that is not finite at " + at_text(entry->tensor, first_non_finite(piece)));
}

namespace {

void read_attention(SourceTensors& tensors, const TensorNames& names, const Family& family,
                    bool interleaved, const std::string& prefix, const ModelConfig& c,
                    LayerSource& layer) {
  const int64_t q_rows = int64_t{c.heads} * c.head_dim;
  const int64_t kv_rows = int64_t{c.kv_heads} * c.head_dim;
  const auto matrix = [&](const char* name, int64_t rows, int64_t columns, int heads) {
    return MatrixSource{tensors.matrix(prefix + name + ".weight", rows, columns),
                        interleaved ? heads : 0};
  };
  layer.q = matrix(names.q, q_rows, c.width, c.heads);
  layer.k = matrix(names.k, kv_rows, c.width, c.kv_heads);
  layer.v = matrix(names.v, kv_rows, c.width, 0);
  layer.o = matrix(names.o, c.width, q_rows, 0);
  if (family.qkv_bias) {
    layer.q_bias = tensors.vector(prefix + names.q + ".bias", q_rows);
    layer.k_bias = tensors.vector(prefix + names.k + ".bias", kv_rows);
    layer.v_bias = tensors.vector(prefix + names.v + ".bias", kv_rows);
  }
  if (family.qk_norm) {
    layer.q_norm = tensors.vector(prefix + names.q_norm, c.head_dim);
    layer.k_norm = tensors.vector(prefix + names.k_norm, c.head_dim);
  }
}

}  // namespace

void read_model_tensors(SourceTensors& tensors, const TensorNames& names, const Family& family,
                        bool tied, bool interleaved, ModelSource& source) {
  const ModelConfig& c = source.config;
  source.embedding = {tensors.matrix(names.embedding, c.vocab, c.width)};
  if (!tied) source.lm_head = MatrixSource{tensors.matrix(names.lm_head, c.vocab, c.width)};
  source.final_norm = tensors.vector(names.final_norm, c.width);
  source.layers.resize(c.layers);
  for (int l = 0; l < c.layers; ++l) {
    LayerSource& layer = source.layers[l];
    const std::string prefix = names.layer + std::to_string(l) + ".";
    layer.attention_norm = tensors.vector(prefix + names.attention_norm, c.width);
    read_attention(tensors, names, family, interleaved, prefix, c, layer);
    layer.ffn_norm = tensors.vector(prefix + names.ffn_norm, c.width);
    layer.gate = {tensors.matrix(prefix + names.gate + ".weight", c.ffn_width, c.width)};
    layer.up = {tensors.matrix(prefix + names.up + ".weight", c.ffn_width, c.width)};
    layer.down = {tensors.matrix(prefix + names.down + ".weight", c.width, c.ffn_width)};
    if (family.post_norms) {
      layer.post_attention_norm = tensors.vector(prefix + names.post_attention_norm, c.width);
      layer.post_ffn_norm = tensors.vector(prefix + names.post_ffn_norm, c.width);
    }
  }
}

}  // namespace smore
