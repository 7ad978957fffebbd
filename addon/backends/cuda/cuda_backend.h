#pragma once

#include <optional>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/graphs.h"
#include "backends/cuda/kv_cache.h"
#include "backends/cuda/matrix.h"
#include "backends/cuda/panels.h"
#include "backends/cuda/runtime.h"
#include "backends/cuda/scratch.h"
#include "backends/cuda/staging.h"

namespace smore::cuda {

// The ops of the graph on one device, all on one stream: a call returns when its kernel is queued.
class CudaBackend final : public Backend {
 public:
  CudaBackend(const BackendOptions& options, int device);
  ~CudaBackend() override;

  std::string_view path() const override { return path_; }
  std::string_view device() const override { return name_; }
  ThreadPool& threads() override { return threads_; }
  const Stream& stream() const { return stream_; }

  std::optional<uint64_t> free_memory() override;
  uint64_t scratch_bytes(const ModelConfig& model, const StepSizes& sizes) const override;
  void reserve(const ModelConfig& model, const StepSizes& sizes) override;
  void stats(double* stats) const override;
  Buffer take(int64_t count) override;
  Buffer place(std::span<const float> values) override;
  const float* to_host(const float* x, int64_t count) override;
  void wait() override;
  void begin(std::span<AttentionStep* const> steps) override;
  std::unique_ptr<Matrix> pack(std::span<const MatrixSource> parts) override;
  std::unique_ptr<RotaryTable> make_rotary(const ModelConfig& config, int positions) override;
  std::unique_ptr<KvCache> make_kv_cache(int layers, const AttentionShape& shape,
                                         int pages) override;
  BlockMaker host_blocks() override;
  std::unique_ptr<AdapterStep> make_adapter_step(ExpertCache& host,
                                                 const AdapterOptions& options) override;
  uint64_t readout_bytes(const ReadoutShape& shape) const override;
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
  void gated_activation(Activation activation, const float* gate_up, int rows, int ffn_width,
                        float* y) override;
  void add(float* x, const float* y, int64_t count) override;
  void add_and_norm(float* x, const float* y, const float* weight, int rows, int width, float eps,
                    float* normed) override;
  void softcap(float cap, float* x, int64_t count) override;

 private:
  size_t op_scratch(const ModelConfig& model, const StepSizes& sizes) const;
  bool by_panels(int rows) const { return panels_ && rows >= PanelProducts::kLeastRows; }
  size_t product_scratch(int columns, int rows) const;

  int device_;
  bool floats_;  // float32 everywhere
  DeviceFacts facts_;
  std::string name_;  // "cuda:0"
  std::string path_;
  ThreadPool threads_;
  Stream stream_;
  Staging staging_{stream_};
  KernelList listed_;  // of the running step, unless it has many rows
  Graphs graphs_{stream_};
  std::optional<PanelProducts> panels_;  // where cuBLASLt was asked for
  std::vector<PlacedStep> placed_;
  Scratch scratch_{stream_};  // of the running op
  PinnedMemory read_;         // what the host reads
};

}  // namespace smore::cuda
