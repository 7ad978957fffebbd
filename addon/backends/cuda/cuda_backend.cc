#include "backends/cuda/cuda_backend.h"

#include <algorithm>
#include <array>

#include "backends/cuda/attention.h"
#include "backends/cuda/elementwise.h"
#include "backends/cuda/products.h"
#include "backends/cuda/readout.h"
#include "backends/cuda/trees_step.h"
#include "core/check.h"
#include "core/error.h"
#include "engine/step.h"

namespace smore::cuda {
namespace {

// Steps of more rows keep the device busier than their launches do the host, and seldom come again:
// those of prompts do not.
constexpr int kMostListedRows = 256;
// A list has kernels of our own alone.
static_assert(kMostListedRows < PanelProducts::kLeastRows);

// Of the arrays of a step, and of that step of its needed rows alone.
uint64_t staging_bytes(const ModelConfig& model, const StepSizes& sizes) {
  const auto rows = static_cast<uint64_t>(sizes.rows);
  const auto sequences = static_cast<uint64_t>(sizes.sequences);
  const uint64_t blocks = sequences * (sizes.positions / kPageTokens + 1);
  const uint64_t works = sizes.adapters ? works_staging(model.layers, sizes) : 0;
  return 4 * sizeof(int32_t) * (5 * rows + 2 * sequences + blocks) + (uint64_t{64} << 10) + works;
}

// What CUDA itself takes while steps run, of which nobody tells before: the code of kernels that
// are launched for the first time, graphs (a kilobyte or so for each kernel of each), and the ends
// of pages that allocations do not fill. An estimate.
uint64_t unforeseen_bytes(const DeviceFacts& facts) {
  constexpr size_t kMost = size_t{256} << 20;
  return std::min(kMost, facts.total_memory / 64);
}

int select(int device) {
  use_device(device);
  return device;
}

const TiledMatrix& tiled(const Matrix& matrix) { return static_cast<const TiledMatrix&>(matrix); }

const PlacedStep& placed(const AttentionStep& step) {
  SMORE_CHECK(step.placed != nullptr, "a step's arrays were not placed");
  return *static_cast<const PlacedStep*>(step.placed);
}

}  // namespace

CudaBackend::CudaBackend(const BackendOptions& options, int device)
    : device_(select(device)),
      floats_(options.activations == ActivationType::kFloat32),
      facts_(device_facts(device)),
      name_("cuda:" + std::to_string(device)),
      path_("cuda-sm" + std::to_string(facts_.major * 10 + facts_.minor) +
            (floats_ ? "-fp32" : "-bf16")),
      threads_(options.threads) {
  if (options.activations == ActivationType::kInt8) {
    throw Error(ErrorCode::kUnsupported, "activations are auto or fp32 on a GPU, not int8");
  }
  if (options.products == GpuProducts::kInvariant) return;
  if (floats_) {
    throw Error(ErrorCode::kInvalidArgument,
                "gpuProducts is cublaslt, which multiplies bfloat16: it does not go with "
                "activations fp32");
  }
  panels_.emplace(options.cublaslt);
  path_ += "-cublaslt";
}

CudaBackend::~CudaBackend() = default;

std::optional<uint64_t> CudaBackend::free_memory() {
  const uint64_t free = device_facts(device_).free_memory;
  return free - std::min(free, unforeseen_bytes(facts_));
}

Buffer CudaBackend::take(int64_t count) {
  auto memory = std::make_shared<DeviceMemory>(static_cast<size_t>(count) * sizeof(float));
  float* data = memory->as<float>();
  return Buffer(data, [memory](float*) {});
}

Buffer CudaBackend::place(std::span<const float> values) {
  if (values.empty()) return {};
  Buffer buffer = take(static_cast<int64_t>(values.size()));
  copy_to_device(buffer.get(), values.data(), values.size_bytes(), stream_);
  stream_.synchronize();
  return buffer;
}

const float* CudaBackend::to_host(const float* x, int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (bytes > read_.bytes()) read_ = PinnedMemory(bytes);
  copy_to_host(read_.data(), x, bytes, stream_);
  stream_.synchronize();
  return read_.as<float>();
}

size_t CudaBackend::op_scratch(const ModelConfig& model, const StepSizes& sizes) const {
  const int columns = std::max({model.width, model.ffn_width, model.heads * model.head_dim});
  const AttentionShape shape{
      .heads = model.heads, .kv_heads = model.kv_heads, .head_dim = model.head_dim};
  const int longest = span_bucket(sizes.positions);
  const int split = std::min(sizes.rows, most_split_rows(shape, facts_.processors));
  return std::max({floats_ ? 0 : product_scratch(columns, sizes.rows),
                   attention_scratch(shape, split, longest) * sizeof(float),
                   sizes.adapters ? works_scratch(facts_) : 0});
}

uint64_t CudaBackend::scratch_bytes(const ModelConfig& model, const StepSizes& sizes) const {
  return op_scratch(model, sizes) + Staging::room_for(staging_bytes(model, sizes));
}

void CudaBackend::reserve(const ModelConfig& model, const StepSizes& sizes) {
  use_device(device_);
  scratch_.take(op_scratch(model, sizes));
  if (panels_) panels_->reserve(sizes.rows);
  staging_.reserve(staging_bytes(model, sizes));
}

void CudaBackend::stats(double* stats) const {
  const Graphs::Counts& counts = graphs_.counts();
  stats[kStatGraphLaunches] += static_cast<double>(counts.launches);
  stats[kStatGraphCaptures] += static_cast<double>(counts.captures);
  stats[kStatGraphUpdates] += static_cast<double>(counts.updates);
  stats[kStatGraphDirect] += static_cast<double>(counts.direct);
}

void CudaBackend::wait() { stream_.synchronize(); }

void CudaBackend::begin(std::span<AttentionStep* const> steps) {
  use_device(device_);
  stream_.list_kernels(nullptr);
  staging_.begin();
  placed_.assign(steps.size(), {});
  for (size_t i = 0; i < steps.size(); ++i) {
    AttentionStep& step = *steps[i];
    const auto rows = static_cast<size_t>(step.rows);
    const auto sequences = static_cast<size_t>(step.sequences);
    PlacedStep& p = placed_[i];
    p.positions = staging_.upload({step.positions, rows});
    p.row_sequence = staging_.upload({step.row_sequence, rows});
    p.sequences = step.sequences;
    p.row_start = staging_.upload({step.row_start, sequences + 1});
    p.block_start = staging_.upload({step.block_start, sequences + 1});
    p.blocks =
        staging_.upload({step.blocks, static_cast<size_t>(step.block_start[step.sequences])});
    int longest = 0;
    for (int t = 0; t < step.rows; ++t) longest = std::max(longest, step.positions[t] + 1);
    p.longest = span_bucket(longest);
    step.placed = &p;
  }
  if (steps[0]->rows > kMostListedRows) return;
  stream_.list_kernels(&listed_, [this] {
    staging_.put();
    graphs_.put(listed_);
  });
}

BlockMaker CudaBackend::host_blocks() { return pinned_blocks(device_); }

std::unique_ptr<AdapterStep> CudaBackend::make_adapter_step(ExpertCache& host,
                                                            const AdapterOptions& options) {
  const TreesStep::Shared shared{device_, stream_, staging_, scratch_, works_scratch(facts_)};
  return std::make_unique<TreesStep>(shared, host, options.device_budget);
}

std::unique_ptr<Matrix> CudaBackend::pack(std::span<const MatrixSource> parts) {
  auto matrix = std::make_unique<TiledMatrix>(parts, threads_, stream_);
  if (panels_) panels_->expect(*matrix);
  return matrix;
}

std::unique_ptr<RotaryTable> CudaBackend::make_rotary(const ModelConfig& config, int positions) {
  return std::make_unique<DeviceRotaryTable>(config, positions, stream_);
}

std::unique_ptr<KvCache> CudaBackend::make_kv_cache(int layers, const AttentionShape& shape,
                                                    int pages) {
  return std::make_unique<DeviceKvCache>(layers, shape, pages, !floats_);
}

uint64_t CudaBackend::readout_bytes(const ReadoutShape& shape) const {
  return CudaReadout::bytes(shape);
}

std::unique_ptr<Readout> CudaBackend::make_readout(const ReadoutShape& shape) {
  return std::make_unique<CudaReadout>(shape, device_, stream_);
}

void CudaBackend::embed(const Matrix& table, const TokenRows& tokens, int rows, float scale,
                        float* x) {
  const TiledMatrix& matrix = tiled(table);
  SMORE_CHECK(matrix.parts().size() == 1, "a table of several parts");
  const auto count = static_cast<size_t>(rows);
  TokenRows placed{.tokens = staging_.upload({tokens.tokens, count}),
                   .slot_tokens = tokens.slot_tokens};
  if (tokens.slots != nullptr) placed.slots = staging_.upload({tokens.slots, count});
  cuda::embed(matrix.parts()[0], placed, rows, scale, x, stream_);
}

void CudaBackend::gather(const float* x, std::span<const int32_t> rows, int64_t width, float* y) {
  const int32_t* placed = staging_.upload(rows);
  gather_rows(x, placed, static_cast<int>(rows.size()), width, y, stream_);
}

void CudaBackend::rms_norm(const float* x, const float* weight, int rows, int width, float eps,
                           float* y) {
  cuda::rms_norm(x, weight, rows, width, eps, y, stream_);
}

// Inputs that were rounded, and behind them the scratch memory of panels where they are used.
size_t CudaBackend::product_scratch(int columns, int rows) const {
  return tensor_scratch(columns, rows) + (by_panels(rows) ? panels_->scratch_bytes() : 0);
}

void CudaBackend::matmul(const Matrix& w, const float* x, int rows, const float* bias, float* y) {
  const std::vector<TiledPart>& parts = tiled(w).parts();
  std::byte* rounded = nullptr;  // what the parts read, once for all
  for (const TiledPart& part : parts) {
    if (floats_ || part.dtype == DType::kF32) {
      float_product(part, x, rows, bias, y, w.rows(), stream_);
      continue;
    }
    if (rounded == nullptr) {
      rounded = scratch_.take(product_scratch(part.columns, rows));
      round_inputs(x, part.columns, rows, rounded, stream_);
    }
    if (by_panels(rows)) continue;
    tensor_product(part, x, rows, bias, rounded, y, w.rows(), stream_);
  }
  if (rounded == nullptr || !by_panels(rows)) return;
  panels_->multiply(parts, rounded, rows, bias, y, w.rows(),
                    rounded + tensor_scratch(parts[0].columns, rows), stream_);
}

void CudaBackend::rotate_and_store(KvCache& kv, int layer, const AttentionShape& shape,
                                   const RotaryTable& rotary, const AttentionStep& step,
                                   const float* q_norm, const float* k_norm, float eps,
                                   float* qkv) {
  const auto& table = static_cast<const DeviceRotaryTable&>(rotary);
  cuda::rotate_and_store(static_cast<const DeviceKvCache&>(kv).view(), layer, shape,
                         table.cosines(), table.sines(), placed(step), step.rows, q_norm, k_norm,
                         eps, qkv, stream_);
}

void CudaBackend::attention(const KvCache& kv, int layer, const AttentionShape& shape,
                            const AttentionStep& step, const float* qkv, float* y) {
  const PlacedStep& p = placed(step);
  const bool split = splits_spans(shape, step.rows, p.longest, facts_.processors);
  const int64_t floats = split ? attention_scratch(shape, step.rows, p.longest) : 0;
  auto* sums = reinterpret_cast<float*>(scratch_.take(static_cast<size_t>(floats) * sizeof(float)));
  cuda::attention(static_cast<const DeviceKvCache&>(kv).view(), layer, shape, p, step.rows, split,
                  qkv, sums, y, stream_);
}

void CudaBackend::gated_activation(Activation activation, const float* gate_up, int rows,
                                   int ffn_width, float* y) {
  cuda::gated_activation(activation, gate_up, rows, ffn_width, y, stream_);
}

void CudaBackend::add(float* x, const float* y, int64_t count) { cuda::add(x, y, count, stream_); }

void CudaBackend::add_and_norm(float* x, const float* y, const float* weight, int rows, int width,
                               float eps, float* normed) {
  cuda::add_and_norm(x, y, weight, rows, width, eps, normed, stream_);
}

void CudaBackend::softcap(float cap, float* x, int64_t count) {
  cuda::softcap(cap, x, count, stream_);
}

}  // namespace smore::cuda

namespace smore {

namespace {

void require_usable(int device) {
  const CudaDevices devices = cuda_devices();
  if (std::find(devices.usable.begin(), devices.usable.end(), device) != devices.usable.end()) {
    return;
  }
  std::string others;
  for (const int usable : devices.usable) {
    others += (others.empty() ? "cuda:" : ", cuda:") + std::to_string(usable);
  }
  throw Error(ErrorCode::kDevice,
              "cuda:" + std::to_string(device) + " cannot be used: " +
                  (others.empty() ? "no GPU can" : "the GPUs that can are " + others) +
                  (devices.fault.empty() ? "" : " (" + devices.fault + ")"));
}

}  // namespace

CudaDevices cuda_devices() {
  CudaDevices devices;
  const cuda::DeviceList list = cuda::list_devices();
  devices.fault = list.fault;
  for (size_t i = 0; i < list.refusals.size(); ++i) {
    if (list.refusals[i].empty()) {
      devices.usable.push_back(static_cast<int>(i));
      continue;
    }
    if (!devices.fault.empty()) devices.fault += "; ";
    devices.fault += "cuda:" + std::to_string(i) + ": " + list.refusals[i];
  }
  return devices;
}

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options, int device) {
  require_usable(device);
  return std::make_unique<cuda::CudaBackend>(options, device);
}

uint64_t cuda_memory(int device) {
  require_usable(device);
  return cuda::device_facts(device).total_memory;
}

}  // namespace smore
