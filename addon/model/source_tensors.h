#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"
#include "io/mapped_file.h"
#include "model/source.h"
#include "model/source_families.h"

namespace smore {

// The tensors of a model's files by name, each handed out once with its shape checked; what nobody
// asked for is found at the end. Every fault throws Error(kInvalidModel) naming file and tensor.
class SourceTensors {
 public:
  explicit SourceTensors(std::string where) : where_(std::move(where)) {}

  // Throws when a tensor of that name is already there.
  void add(TensorView tensor, const MappedFile& file);

  bool has(const std::string& name) const { return tensors_.contains(name); }
  TensorView matrix(const std::string& name, int64_t rows, int64_t columns);
  VectorSource vector(const std::string& name, int64_t size);
  // Counts as read without being used.
  void ignore(const std::string& name);
  const TensorView& peek(const std::string& name) const;

  // Throws naming the first tensor in file order that was not read, unless its name ends in one of
  // `allowed`.
  void refuse_unread(std::initializer_list<std::string_view> allowed) const;

  // Reads every matrix handed out, on several threads; throws naming the first with an infinite or
  // NaN value.
  void refuse_non_finite() const;

 private:
  struct Entry {
    TensorView tensor;
    const std::string* file;
    bool read = false;
  };
  Entry& take(const std::string& name);
  void check_shape(const Entry& entry, std::initializer_list<int64_t> shape) const;
  [[noreturn]] static void refuse(const Entry& entry, const std::string& fault);

  std::string where_;
  std::unordered_map<std::string, Entry> tensors_;
  std::vector<const Entry*> order_;     // as added; unordered_map never moves its nodes
  std::vector<const Entry*> matrices_;  // handed out
};

// How a file format calls a model's tensors. Names of a layer follow `layer` + its number + ".".
struct TensorNames {
  const char *embedding, *lm_head, *final_norm, *layer;
  const char *attention_norm, *q, *k, *v, *o, *q_norm, *k_norm;
  const char *ffn_norm, *gate, *up, *down;
  const char *post_attention_norm, *post_ffn_norm;
};

// Fills embedding, lm_head (unless tied), norms and layers of `source` by its configuration.
void read_model_tensors(SourceTensors& tensors, const TensorNames& names, const Family& family,
                        bool tied, bool interleaved, ModelSource& source);

}  // namespace smore
