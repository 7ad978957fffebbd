#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/thread_pool.h"
#include "experts/tier.h"
#include "model/config.h"
#include "model/source.h"

namespace smore {

class AdapterStep;
struct AdapterOptions;
class ExpertCache;
class Readout;
struct ReadoutShape;

// A weight matrix in the layout that its backend's kernels read. Made once at load by pack().
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual int64_t rows() const = 0;     // outputs
  virtual int64_t columns() const = 0;  // inputs
  virtual size_t bytes() const = 0;     // memory it holds = bytes that one pass over it reads
};

// What one step does with the KV cache, the same for every layer. Sequence b owns rows
// [row_start[b], row_start[b + 1]); its first row has position context[b].
struct AttentionStep {
  int rows = 0;                           // T
  int sequences = 0;                      // B
  const int32_t* row_start = nullptr;     // B + 1
  const int32_t* row_sequence = nullptr;  // T
  const int32_t* context = nullptr;       // B: positions cached before this step
  const int32_t* block_start = nullptr;   // B + 1, into blocks
  const int32_t* blocks = nullptr;        // pages that hold positions 0, kPageTokens, ...
  const int32_t* positions = nullptr;     // T
  const void* placed = nullptr;           // set by Backend::begin
};

// The tokens of a step's rows: the host's, or those last sampled into slots.
struct TokenRows {
  const int32_t* tokens = nullptr;       // T
  const int32_t* slots = nullptr;        // T: whose token a row has, or kOwnToken; null = all own
  const int32_t* slot_tokens = nullptr;  // Readout::slot_tokens
};
inline constexpr int32_t kOwnToken = -1;

// Floats where the ops of their backend read and write them: in host memory only where ops run on
// the host. They must not outlive the backend.
using Buffer = std::unique_ptr<float[], std::function<void(float*)>>;

// Tokens that one KV page holds.
inline constexpr int kPageTokens = 16;

// Paged keys and values of all layers. Only the backend that made it knows its layout and type.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual int pages() const = 0;
  virtual size_t page_bytes() const = 0;  // of one page over all layers
};

// cos and sin for every position, made once per model.
class RotaryTable {
 public:
  virtual ~RotaryTable() = default;
};

struct AttentionShape {
  int heads = 0;     // H
  int kv_heads = 0;  // K
  int head_dim = 0;  // d
  float query_scale = 1;
  float softcap = 0;  // 0 = none
  int window = 0;     // 0 = all positions
};

// Rows that a product reads as they are made: x += added, then x / rms(x) * weight.
struct NormedRows {
  float* x;             // [rows, width]
  const float* added;   // likewise; or null for nothing
  const float* weight;  // [width]
  float eps;
  float* normed;  // [rows, width], which may be `added`
  bool kept;      // whether `normed` is read later; otherwise it may hold anything
};

// The same of act(gate_up[t, :F]) * gate_up[t, F:].
struct GatedRows {
  Activation activation;
  const float* gate_up;  // [rows, 2 F]
  float* gated;          // [rows, F]
  bool kept;
};

// The largest step of an engine.
struct StepSizes {
  int rows = 0;
  int sequences = 0;
  int positions = 0;      // of a sequence
  bool adapters = false;  // rows may go through some
};

// One machine's way of running the ops of the graph, each over the whole batch of a step. Floats
// are in the backend's own buffers, row-major, contiguous unless a stride is named; arrays of
// integers are the host's. Ops run in the order called, perhaps after the call has returned; every
// op keeps ONE accumulation order per row whatever the number of rows (batch invariance).
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view path()
      const = 0;  // "avx512vnni-int8", "avx2-fp32", ...: what the logs name
  virtual std::string_view device() const = 0;  // "cpu", "cuda:0"
  virtual ThreadPool& threads() = 0;

  // Bytes that the device of the ops has left for us; none where they use the host's memory.
  virtual std::optional<uint64_t> free_memory() = 0;

  // Bytes that the ops of such steps take of free_memory() beside their buffers; reserve() takes
  // them, so that no step grows them.
  virtual uint64_t scratch_bytes(const ModelConfig& /*model*/, const StepSizes& /*sizes*/) const {
    return 0;
  }
  virtual void reserve(const ModelConfig& /*model*/, const StepSizes& /*sizes*/) {}

  // Adds its counters to `stats` (an array of kStatCount). From any thread.
  virtual void stats(double* /*stats*/) const {}

  // Room for `count` floats of any value.
  virtual Buffer take(int64_t count) = 0;
  // Room that holds these values; null for none.
  virtual Buffer place(std::span<const float> values) = 0;
  // Where the host reads the values that the ops so far have computed: as they are, until the next
  // call of an op that changes them or of this.
  virtual const float* to_host(const float* x, int64_t count) = 0;
  // Returns when all ops so far are done; throws Error(kDevice) when one of them failed.
  virtual void wait() = 0;

  // Brings arrays to where the ops read them, before any op is given one of these steps, which the
  // next call forgets.
  virtual void begin(std::span<AttentionStep* const> steps) = 0;

  // Packs the parts, stacked along their rows, as one matrix: products that read the same x share
  // one pass. Parts may differ in type. Parts' pages may be released after it returns.
  virtual std::unique_ptr<Matrix> pack(std::span<const MatrixSource> parts) = 0;

  virtual std::unique_ptr<RotaryTable> make_rotary(const ModelConfig& config, int positions) = 0;
  virtual std::unique_ptr<KvCache> make_kv_cache(int layers, const AttentionShape& shape,
                                                 int pages) = 0;

  // The kind of host memory that adapters lie in: where a device copies from it, what it copies
  // from without help.
  virtual BlockMaker host_blocks() { return {}; }
  // How adapters are computed here, from what `host` holds.
  virtual std::unique_ptr<AdapterStep> make_adapter_step(ExpertCache& host,
                                                         const AdapterOptions& options) = 0;

  // Bytes that make_readout() takes of free_memory().
  virtual uint64_t readout_bytes(const ReadoutShape& /*shape*/) const { return 0; }
  // How tokens and log probabilities get from logits to the host.
  virtual std::unique_ptr<Readout> make_readout(const ReadoutShape& shape) = 0;

  // x[t] = table[token of row t] * scale.                              x: [T, D]
  virtual void embed(const Matrix& table, const TokenRows& tokens, int rows, float scale,
                     float* x) = 0;

  // y[i] = x[rows[i]], rows rising; y may be x.                        x, y: [.., width]
  virtual void gather(const float* x, std::span<const int32_t> rows, int64_t width, float* y) = 0;

  // y[t] = x[t] / rms(x[t]) * weight.                                  x, y: [rows, width]
  virtual void rms_norm(const float* x, const float* weight, int rows, int width, float eps,
                        float* y) = 0;

  // y[t] = W x[t] + bias (bias may be null).                           x: [rows, in], y: [rows,
  // out]
  virtual void matmul(const Matrix& w, const float* x, int rows, const float* bias, float* y) = 0;

  // Normalises (when the weights are given) and rotates q and k in place, then writes k and v to
  // the pages of the rows' positions.      qkv: [T, (H + 2 K) d]; q_norm, k_norm: [d] or null
  virtual void rotate_and_store(KvCache& kv, int layer, const AttentionShape& shape,
                                const RotaryTable& rotary, const AttentionStep& step,
                                const float* q_norm, const float* k_norm, float eps,
                                float* qkv) = 0;

  // Causal attention of every row over its sequence's pages. The rows may be some of those that
  // were stored: positions tell which.      qkv: [T, (H + 2 K) d], y: [T, H d]
  virtual void attention(const KvCache& kv, int layer, const AttentionShape& shape,
                         const AttentionStep& step, const float* qkv, float* y) = 0;

  // y[t] = act(gate_up[t, :F]) * gate_up[t, F:].                       gate_up: [rows, 2 F], y:
  // [rows, F]
  virtual void gated_activation(Activation activation, const float* gate_up, int rows,
                                int ffn_width, float* y) = 0;

  // x += y.                                                            x, y: [count]
  virtual void add(float* x, const float* y, int64_t count) = 0;

  // x += y, then as rms_norm(x): what a block reads once the one before it has added to the stream.
  // normed may be y.                                   x, y, normed: [rows, width]
  virtual void add_and_norm(float* x, const float* y, const float* weight, int rows, int width,
                            float eps, float* normed) {
    add(x, y, int64_t{rows} * width);
    rms_norm(x, weight, rows, width, eps, normed);
  }

  // As add_and_norm or rms_norm, and then matmul.                      y: [rows, out]
  virtual void normed_matmul(const Matrix& w, const NormedRows& in, int rows, const float* bias,
                             float* y) {
    const int width = static_cast<int>(w.columns());
    if (in.added) {
      add_and_norm(in.x, in.added, in.weight, rows, width, in.eps, in.normed);
    } else {
      rms_norm(in.x, in.weight, rows, width, in.eps, in.normed);
    }
    matmul(w, in.normed, rows, bias, y);
  }

  // As gated_activation and then matmul.                               y: [rows, out]
  virtual void gated_matmul(const Matrix& w, const GatedRows& in, int rows, float* y) {
    gated_activation(in.activation, in.gate_up, rows, static_cast<int>(w.columns()), in.gated);
    matmul(w, in.gated, rows, nullptr, y);
  }

  // x = cap * tanh(x / cap).                                           x: [count]
  virtual void softcap(float cap, float* x, int64_t count) = 0;
};

// What activations are where they meet quantised weights. Integers come in blocks of 32 under one
// scale, and products with them are exact.
enum class ActivationType {
  kDigits,   // int8, with what rounding leaves of blocks of large values, which err most
  kInt8,     // int8
  kFloat32,  // floats, there and everywhere else
};

inline constexpr ActivationType kActivationTypes[] = {
    ActivationType::kDigits, ActivationType::kInt8, ActivationType::kFloat32};

// By the names that users give: auto, int8 or fp32. Throws Error(kInvalidArgument) for another.
ActivationType activation_type(const std::string& name);

// What multiplies steps of many rows on a GPU.
enum class GpuProducts {
  kInvariant,  // what multiplies those of few rows too: a row has the same bits in every batch
  kCublasLt,   // NVIDIA's library
};

struct BackendOptions {
  int threads = 1;  // of the host
  ActivationType activations = ActivationType::kDigits;
  std::string path{};  // forces a kernel path by name; empty = the machine's best
  GpuProducts products = GpuProducts::kInvariant;
  std::string cublaslt{};  // the file of that library; empty = where the loader finds it
};

// The CPU backend. Throws Error(kInvalidArgument) naming the paths of this machine when the forced
// one is unknown or cannot run here. SMORE_KERNEL_PATH overrides an empty options.path.
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

// Names of the kernel paths that this machine can run, best first.
std::span<const std::string> cpu_paths();

// The GPUs of this machine.
struct CudaDevices {
  std::vector<int> usable;  // indices
  std::string fault;        // why others, or all, cannot be used; empty when all can
};
CudaDevices cuda_devices();

// Bytes of memory of a GPU. Throws Error(kDevice) when it cannot be used, and why.
uint64_t cuda_memory(int device);

// Backend of GPU `device`. Throws Error(kUnsupported, kDevice) when it cannot be used, and why.
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options, int device);

// By the names that users give: "cpu", "cuda:0" and so on, or "auto", the first GPU that can be
// used if there is one. Throws Error(kInvalidArgument) for others.
std::unique_ptr<Backend> make_backend(const std::string& device, const BackendOptions& options);

// Bytes of memory of the device that make_backend() would take; none where that is the CPU, which
// uses the host's. Throws likewise.
std::optional<uint64_t> device_memory(const std::string& device, const BackendOptions& options);

}  // namespace smore
