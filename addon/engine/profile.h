#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <unordered_map>

#include "backends/backend.h"
#include "model/weights.h"

namespace smore {

// What a step spends its time on. What a product's rows are made of counts to the product. Order of
// PROFILE_STAGES in src/engine/native.ts.
enum Stage {
  kStageEmbed,
  kStageNorm,
  kStageQkv,
  kStageRotary,
  kStageAttention,
  kStageO,
  kStageGateUp,
  kStageDown,
  kStageAdd,
  kStageOutput,
  kStageAdapters,  // and the little between the ops
  kStageSampling,  // and pooling
  kStageCount,
};

// Figures of one stage, as Profile::fill lays them out.
enum StageFigure { kStageSeconds, kStageBytes, kStageOperations };
inline constexpr int kStageFigures = 3;

// Where the time of all steps went. Written by the engine thread alone, read from any.
class Profile {
 public:
  void add(Stage stage, double seconds, double bytes, double operations);

  // Fills kStageCount * kStageFigures sums: seconds, bytes that had to be read or written at least,
  // multiplications and additions.
  void fill(double* target) const;

  // Seconds of all stages so far. On the engine thread.
  double total_seconds() const { return total_seconds_; }

 private:
  std::array<std::atomic<double>, kStageCount * kStageFigures> sums_{};
  double total_seconds_ = 0;
};

// A backend that tells a profile what each op took, for the graph of one model.
class ProfiledBackend final : public Backend {
 public:
  ProfiledBackend(Backend& inner, const ModelWeights& weights, Profile& profile);

  std::string_view path() const override { return inner_.path(); }
  std::string_view device() const override { return inner_.device(); }
  ThreadPool& threads() override { return inner_.threads(); }
  std::optional<uint64_t> free_memory() override { return inner_.free_memory(); }
  Buffer take(int64_t count) override { return inner_.take(count); }
  Buffer place(std::span<const float> values) override { return inner_.place(values); }
  const float* to_host(const float* x, int64_t count) override;
  void wait() override { inner_.wait(); }
  void begin(std::span<AttentionStep* const> steps) override { inner_.begin(steps); }
  std::unique_ptr<Matrix> pack(std::span<const MatrixSource> parts) override;
  std::unique_ptr<RotaryTable> make_rotary(const ModelConfig& config, int positions) override;
  std::unique_ptr<KvCache> make_kv_cache(int layers, const AttentionShape& shape,
                                         int pages) override;
  BlockMaker host_blocks() override { return inner_.host_blocks(); }
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
  template <class Op>
  void time_product(const Matrix& w, int rows, double more_bytes, double more_operations, Op&& op);
  template <class Op>
  void time(Stage stage, double bytes, double operations, Op&& op);

  Backend& inner_;
  Profile& profile_;
  std::unordered_map<const Matrix*, Stage> stages_;
  double layers_;
};

// Seconds since an instant that never changes.
inline double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace smore
