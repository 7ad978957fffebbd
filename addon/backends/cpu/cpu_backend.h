#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/grid.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/pack.h"

namespace smore {

// Fewer floats are rounded sooner than shared.
inline constexpr int64_t kWorthRounding = 2048;

// The kernels of a path of this machine, "" for its best (see make_cpu_backend).
const CpuKernels& find_kernels(const std::string& path);

struct DenseKernels {
  const CpuKernels* kernels;
  bool rounds;  // activations to bfloat16, or to integers where they meet codes
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const CpuKernels& kernels, ActivationType activations, int threads);

  std::string_view path() const override { return path_; }
  std::string_view device() const override { return "cpu"; }
  ThreadPool& threads() override { return threads_; }
  const DenseKernels& dense() const { return dense_; }

  std::optional<uint64_t> free_memory() override { return {}; }
  Buffer take(int64_t count) override;
  Buffer place(std::span<const float> values) override;
  const float* to_host(const float* x, int64_t /*count*/) override { return x; }
  void wait() override {}
  void begin(std::span<AttentionStep* const> /*steps*/) override {}
  std::unique_ptr<Matrix> pack(std::span<const MatrixSource> parts) override;
  std::unique_ptr<RotaryTable> make_rotary(const ModelConfig& config, int positions) override;
  std::unique_ptr<KvCache> make_kv_cache(int layers, const AttentionShape& shape,
                                         int pages) override;
  std::unique_ptr<AdapterStep> make_adapter_step(ExpertCache& host,
                                                 const AdapterOptions& options) override;
  std::unique_ptr<Readout> make_readout(const ReadoutShape& shape) override;
  void embed(const Matrix& table, const TokenRows& tokens, int rows, float scale,
             float* x) override;
  void gather(const float* x, std::span<const int32_t> rows, int64_t width, float* y) override;
  void rms_norm(const float* x, const float* weight, int rows, int width, float eps,
                float* y) override;
  void matmul(const Matrix& w, const float* x, int rows, const float* bias, float* y) override;
  void rotate_and_store(KvCache& kv, int layer, const AttentionShape& shape,
                        const RotaryTable& rotary, const AttentionStep& step, const float* q_norm,
                        const float* k_norm, float eps, float* qkv) override;
  void attention(const KvCache& kv, int layer, const AttentionShape& shape,
                 const AttentionStep& step, const float* qkv, float* y) override;
  void normed_matmul(const Matrix& w, const NormedRows& in, int rows, const float* bias,
                     float* y) override;
  void gated_matmul(const Matrix& w, const GatedRows& in, int rows, float* y) override;
  void gated_activation(Activation activation, const float* gate_up, int rows, int ffn_width,
                        float* y) override;
  void add(float* x, const float* y, int64_t count) override;
  void softcap(float cap, float* x, int64_t count) override;

 private:
  // Rows of one sequence and query heads of one KV head that walk over the pages together.
  struct AttentionUnit {
    int sequence;
    int row;
    int rows;
    int head;
    int heads;
  };

  // Calls fn(begin, end) for pieces of [0, count): one, here, when there are at most `least`.
  template <class Fn>
  void for_ranges(int64_t count, int64_t least, Fn&& fn) {
    const int64_t pieces = int64_t{threads_.size()} * kChunksPerThread;
    const int64_t size = std::max(least, (count + pieces - 1) / pieces);
    if (size >= count) {
      if (count > 0) fn(int64_t{0}, count);
      return;
    }
    threads_.for_each((count + size - 1) / size, [&](int64_t chunk) {
      fn(chunk * size, std::min(count, (chunk + 1) * size));
    });
  }

  // Calls fn(begin, end) for pieces of the rows of a matrix that begin at multiples of `unit`.
  template <class Fn>
  void for_row_units(int rows, int columns, int unit, Fn&& fn) {
    const int64_t least = kWorthRounding / (int64_t{unit} * columns);
    for_ranges(
        (rows + unit - 1) / unit, std::max<int64_t>(1, least), [&](int64_t begin, int64_t end) {
          fn(static_cast<int>(begin * unit), static_cast<int>(std::min<int64_t>(rows, end * unit)));
        });
  }

  // How a part's products see the activations.
  enum class Form { kFloat, kInteger, kBf16 };
  Form form(const Panels& panels) const;
  // The rows of a product in each form that a part of its matrix wants.
  struct Inputs {
    bool wanted[3];       // by Form
    int unit;             // rows that are brought to these forms together
    const float* floats;  // [rows, columns]
    QuantRows quantised;
    uint16_t* rounded;
  };
  Inputs make_inputs(const PackedMatrix& w, int rows);
  void take_rows(const float* x, int begin, int end, const PackedMatrix& w, const Inputs& to) const;
  template <class Make>
  void make_rows(const PackedMatrix& w, int rows, float* made, bool kept, Inputs& in, Make&& make);
  void multiply(const PackedMatrix& w, const Inputs& in, int rows, const float* bias, float* y);
  QuantRows room_for_integers(int rows, int columns);
  void plan_attention(const AttentionShape& shape, const AttentionStep& step);

  const CpuKernels& kernels_;
  const AttentionKernels& attention_;
  DenseKernels dense_;
  ActivationType activations_;
  std::string path_;
  ThreadPool threads_;
  HugeArena arena_;  // of the packed matrices
  // Scratch that grows to the largest step and stays.
  std::vector<int8_t> codes_;         // rows, columns
  std::vector<BlockScale> scales_;    // rows, columns / kBlock
  std::unique_ptr<int8_t[]> high_;    // rows, columns (see QuantRows)
  int64_t high_room_ = 0;             // blocks
  std::vector<uint8_t> high_groups_;  // rows, columns / kGroup
  std::vector<int32_t> high_end_;     // rows, columns / kBlock
  std::vector<uint16_t> rounded_;     // rows, columns rounded up to pairs
  std::vector<AttentionUnit> attention_units_;
};

}  // namespace smore
