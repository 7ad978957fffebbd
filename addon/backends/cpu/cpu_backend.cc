#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdlib>

#include "backends/cpu/readout.h"
#include "backends/cpu/rotary_table.h"
#include "core/check.h"
#include "core/error.h"
#include "residual/step.h"

namespace smore {
namespace {

// Work smaller than this many floats is done sooner than shared.
constexpr int64_t kWorthSharing = 16384;

bool is_quantised(DType dtype) { return dtype_info(dtype).block > 1; }

int64_t divide_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

int panel_count(const Panels& panels) { return static_cast<int>(divide_up(panels.outs, kPanel)); }

Grid grid_of(const PackedMatrix& w, int rows, int threads) {
  int panels = 0;
  for (const PackedMatrix::Part& part : w.parts()) panels += panel_count(part.panels);
  return cut(panels, w.bytes() / panels, rows, threads);
}

// Calls fn(part, panel_begin, panel_end) for the pieces of [begin, end) of all parts' panels.
template <class Fn>
void for_parts(const PackedMatrix& w, int begin, int end, Fn&& fn) {
  int first = 0;
  for (const PackedMatrix::Part& part : w.parts()) {
    const int count = panel_count(part.panels);
    const int from = std::max(begin - first, 0);
    const int to = std::min(end - first, count);
    if (from < to) fn(part, from, to);
    first += count;
  }
}

const char* path_suffix(ActivationType activations) {
  switch (activations) {
    case ActivationType::kDigits:
      return "-digits";
    case ActivationType::kInt8:
      return "-int8";
    case ActivationType::kFloat32:
      return "-fp32";
  }
  return "";
}

int32_t token_of(const TokenRows& rows, int64_t t) {
  const int32_t slot = rows.slots == nullptr ? kOwnToken : rows.slots[t];
  return slot == kOwnToken ? rows.tokens[t] : rows.slot_tokens[slot];
}

std::string known_paths() {
  std::string text;
  for (const std::string& name : cpu_paths()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

CpuBackend::CpuBackend(const CpuKernels& kernels, ActivationType activations, int threads)
    : kernels_(kernels),
      attention_(activations == ActivationType::kFloat32 ? *kernels.float_attention
                                                         : *kernels.attention),
      dense_{&kernels, activations != ActivationType::kFloat32},
      activations_(activations),
      path_(std::string(kernels.name) + path_suffix(activations)),
      threads_(threads) {}

std::unique_ptr<Matrix> CpuBackend::pack(std::span<const MatrixSource> parts) {
  return std::make_unique<PackedMatrix>(parts, arena_, threads_);
}

std::unique_ptr<RotaryTable> CpuBackend::make_rotary(const ModelConfig& config, int positions) {
  return std::make_unique<CpuRotaryTable>(config, positions);
}

std::unique_ptr<AdapterStep> CpuBackend::make_adapter_step(ExpertCache& host,
                                                           const AdapterOptions& /*options*/) {
  return std::make_unique<ResidualStep>(*this, host);
}

std::unique_ptr<Readout> CpuBackend::make_readout(const ReadoutShape& shape) {
  return std::make_unique<CpuReadout>(shape, kernels_.weight_sum, threads_);
}

void CpuBackend::embed(const Matrix& table, const TokenRows& tokens, int rows, float scale,
                       float* x) {
  const auto& packed = static_cast<const PackedMatrix&>(table);
  const int64_t width = packed.columns();
  for_ranges(rows, std::max<int64_t>(1, kWorthSharing / 8 / width),
             [&](int64_t begin, int64_t end) {
               for (int64_t t = begin; t < end; ++t) {
                 packed.unpack_row(token_of(tokens, t), x + t * width);
                 for (int64_t i = 0; i < width; ++i) x[t * width + i] *= scale;
               }
             });
}

void CpuBackend::rms_norm(const float* x, const float* weight, int rows, int width, float eps,
                          float* y) {
  for_ranges(rows, std::max<int64_t>(1, kWorthSharing / width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      kernels_.rms_norm(x + t * width, weight, width, eps, y + t * width);
    }
  });
}

QuantRows CpuBackend::room_for_integers(int rows, int columns) {
  const int64_t blocks = int64_t{rows} * columns / kBlock;
  codes_.resize(std::max<size_t>(codes_.size(), blocks * kBlock));
  scales_.resize(std::max<size_t>(scales_.size(), blocks));
  high_groups_.resize(std::max<size_t>(high_groups_.size(), blocks * kBlock / kGroup));
  high_end_.resize(std::max<size_t>(high_end_.size(), blocks));
  if (high_room_ < blocks) {
    high_ = std::make_unique_for_overwrite<int8_t[]>(blocks * kBlock);  // little will be touched
    high_room_ = blocks;
  }
  return {.codes = codes_.data(),
          .scales = scales_.data(),
          .high = high_.get(),
          .high_groups = high_groups_.data(),
          .high_end = high_end_.data(),
          .columns = columns,
          .digits = activations_ == ActivationType::kDigits};
}

CpuBackend::Form CpuBackend::form(const Panels& panels) const {
  if (activations_ == ActivationType::kFloat32) return Form::kFloat;
  if (is_quantised(panels.dtype)) return Form::kInteger;
  return panels.dtype == DType::kBF16 && kernels_.bf16 ? Form::kBf16 : Form::kFloat;
}

// Room for the rows of a product.
CpuBackend::Inputs CpuBackend::make_inputs(const PackedMatrix& w, int rows) {
  Inputs in{};
  for (const PackedMatrix::Part& part : w.parts()) in.wanted[int(form(part.panels))] = true;
  const int columns = static_cast<int>(w.columns());
  in.unit = 1;
  if (in.wanted[int(Form::kInteger)]) {
    in.quantised = room_for_integers(rows, columns);
    in.unit = kernels_.integer->row_unit;
  }
  if (in.wanted[int(Form::kBf16)]) {
    rounded_.resize(std::max<size_t>(rounded_.size(), rows * divide_up(columns, 2) * 2));
    in.rounded = rounded_.data();
    in.unit = std::max(in.unit, kernels_.bf16->row_unit);
  }
  return in;
}

// Brings rows [begin, end), which lie from x on, to the forms wanted.
void CpuBackend::take_rows(const float* x, int begin, int end, const PackedMatrix& w,
                           const Inputs& to) const {
  if (to.wanted[int(Form::kInteger)]) kernels_.integer->quantize(x, begin, end, to.quantised);
  if (to.wanted[int(Form::kBf16)]) {
    kernels_.bf16->round(x, static_cast<int>(w.columns()), begin, end, to.rounded);
  }
}

// Makes rows by make(row, floats) and brings them to the forms wanted while they are near. Where
// nobody reads them later, those of a piece take turns in the same few rows of `made`.
template <class Make>
void CpuBackend::make_rows(const PackedMatrix& w, int rows, float* made, bool kept, Inputs& in,
                           Make&& make) {
  in.floats = made;
  const int64_t columns = w.columns();
  const bool all = kept || in.wanted[int(Form::kFloat)];
  for_row_units(rows, columns, in.unit, [&](int begin, int end) {
    for (int row = begin; row < end; row += in.unit) {
      const int count = std::min(in.unit, end - row);
      float* floats = made + (all ? row : begin) * columns;
      for (int i = 0; i < count; ++i) make(row + i, floats + i * columns);
      take_rows(floats, row, row + count, w, in);
    }
  });
}

void CpuBackend::matmul(const Matrix& matrix, const float* x, int rows, const float* bias,
                        float* y) {
  const auto& w = static_cast<const PackedMatrix&>(matrix);
  Inputs in = make_inputs(w, rows);
  in.floats = x;
  const int64_t columns = w.columns();
  if (in.quantised.codes || in.rounded) {
    for_row_units(rows, columns, in.unit,
                  [&](int begin, int end) { take_rows(x + begin * columns, begin, end, w, in); });
  }
  multiply(w, in, rows, bias, y);
}

void CpuBackend::normed_matmul(const Matrix& matrix, const NormedRows& in, int rows,
                               const float* bias, float* y) {
  const auto& w = static_cast<const PackedMatrix&>(matrix);
  const int width = static_cast<int>(w.columns());
  const auto norm = [&](int64_t t, float* normed) {
    float* x = in.x + t * width;
    if (in.added) kernels_.add(x, in.added + t * width, width);
    kernels_.rms_norm(x, in.weight, width, in.eps, normed);
  };
  Inputs to = make_inputs(w, rows);
  make_rows(w, rows, in.normed, in.kept, to, norm);
  multiply(w, to, rows, bias, y);
}

void CpuBackend::gated_matmul(const Matrix& matrix, const GatedRows& in, int rows, float* y) {
  const auto& w = static_cast<const PackedMatrix&>(matrix);
  Inputs to = make_inputs(w, rows);
  // Where threads have no tile each, they share rows.
  if (rows < to.unit * threads_.size()) return Backend::gated_matmul(w, in, rows, y);
  const int64_t width = w.columns();
  const auto gate = [&](int64_t t, float* gated) {
    const float* gates = in.gate_up + t * 2 * width;
    kernels_.gated_activation(in.activation, gates, gates + width, width, gated);
  };
  make_rows(w, rows, in.gated, in.kept, to, gate);
  multiply(w, to, rows, nullptr, y);
}

void CpuBackend::multiply(const PackedMatrix& w, const Inputs& in, int rows, const float* bias,
                          float* y) {
  if (rows == 0) return;
  const Grid grid = grid_of(w, rows, threads_.size());
  threads_.for_each(int64_t{grid.panel_chunks} * grid.row_chunks, [&](int64_t chunk) {
    const int place =
        walk_place(static_cast<int>(chunk % grid.panel_chunks), grid.panel_chunks, threads_.size());
    const int panel = place * grid.panels_per_chunk;
    const int row = static_cast<int>(chunk / grid.panel_chunks) * grid.rows_per_chunk;
    const int panel_end = std::min(grid.panels, panel + grid.panels_per_chunk);
    for_parts(w, panel, panel_end, [&](const PackedMatrix::Part& part, int from, int to) {
      const ProductTarget target{.y = y + part.first_out,
                                 .y_stride = w.rows(),
                                 .bias = bias ? bias + part.first_out : nullptr,
                                 .panel_begin = from,
                                 .panel_end = to,
                                 .row_begin = row,
                                 .row_end = std::min(rows, row + grid.rows_per_chunk)};
      switch (form(part.panels)) {
        case Form::kInteger:
          return kernels_.integer->product(part.panels, in.quantised, target);
        case Form::kBf16:
          return kernels_.bf16->product(part.panels, in.rounded, target);
        case Form::kFloat:
          return kernels_.float_product(part.panels, in.floats, w.columns(), target);
      }
    });
  });
}

void CpuBackend::gated_activation(Activation activation, const float* gate_up, int rows,
                                  int ffn_width, float* y) {
  for_ranges(rows, std::max<int64_t>(1, kWorthSharing / 4 / ffn_width),
             [&](int64_t begin, int64_t end) {
               for (int64_t t = begin; t < end; ++t) {
                 const float* gate = gate_up + t * 2 * ffn_width;
                 kernels_.gated_activation(activation, gate, gate + ffn_width, ffn_width,
                                           y + t * ffn_width);
               }
             });
}

void CpuBackend::add(float* x, const float* y, int64_t count) {
  for_ranges(count, kWorthSharing,
             [&](int64_t begin, int64_t end) { kernels_.add(x + begin, y + begin, end - begin); });
}

void CpuBackend::softcap(float cap, float* x, int64_t count) {
  for_ranges(count, kWorthSharing / 4,
             [&](int64_t begin, int64_t end) { kernels_.softcap(cap, x + begin, end - begin); });
}

std::span<const std::string> cpu_paths() {
  static const std::vector<std::string> names = [] {
    const KernelList found = machine_kernels();
    std::vector<std::string> list;
    for (size_t i = 0; i < found.count; ++i) list.emplace_back(found.tables[i]->name);
    return list;
  }();
  return names;
}

const CpuKernels& find_kernels(const std::string& path) {
  const char* forced = std::getenv("SMORE_KERNEL_PATH");
  const std::string wanted = !path.empty() ? path : forced ? forced : "";
  const KernelList found = machine_kernels();
  for (size_t i = 0; i < found.count; ++i) {
    if (wanted.empty() || wanted == found.tables[i]->name) return *found.tables[i];
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "kernel path \"" + wanted + "\" cannot run on this machine, which has " + known_paths());
}

ActivationType activation_type(const std::string& name) {
  if (name == "auto") return ActivationType::kDigits;
  if (name == "int8") return ActivationType::kInt8;
  if (name == "fp32") return ActivationType::kFloat32;
  throw Error(ErrorCode::kInvalidArgument,
              "activations are auto, int8 or fp32, not \"" + name + "\"");
}

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(find_kernels(options.path), options.activations,
                                      options.threads);
}

}  // namespace smore
