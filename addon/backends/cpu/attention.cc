#include <algorithm>
#include <cstring>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kv_cache.h"
#include "backends/cpu/rotary_table.h"
#include "core/error.h"

namespace smore {
namespace {

int padded(int head_dim) { return (head_dim + kPanel - 1) / kPanel * kPanel; }

// Puts one token's key and value of a head where its page has them.
void store_token(const CpuKernels& kernels, const CpuKvCache& kv, int page, int layer, int head,
                 int slot, int head_dim, const float* key, const float* value) {
  uint8_t* keys = kv.keys(page, layer, head);
  uint8_t* values = kv.values(page, layer, head);
  if (kv.half()) {
    uint16_t halves[kMaxHeadDim] = {};
    kernels.to_half(key, head_dim, halves);
    auto* lanes = reinterpret_cast<uint16_t*>(keys) + slot;
    for (int d = 0; d < head_dim; ++d) lanes[d * kPageTokens] = halves[d];
    kernels.to_half(value, head_dim, halves);
    std::fill(halves + head_dim, halves + kv.padded_dim(), uint16_t{0});
    std::memcpy(values + slot * kv.padded_dim() * sizeof(uint16_t), halves,
                kv.padded_dim() * sizeof(uint16_t));
    return;
  }
  float* lanes = reinterpret_cast<float*>(keys) + slot;
  for (int d = 0; d < head_dim; ++d) lanes[d * kPageTokens] = key[d];
  float* row = reinterpret_cast<float*>(values) + slot * kv.padded_dim();
  std::copy(value, value + head_dim, row);
  std::fill(row + head_dim, row + kv.padded_dim(), 0.0f);
}

}  // namespace

CpuKvCache::CpuKvCache(int layers, const AttentionShape& shape, int pages, bool half)
    : pages_(pages),
      kv_heads_(shape.kv_heads),
      half_(half),
      padded_dim_(padded(shape.head_dim)),
      key_bytes_(size_t{kPageTokens} * shape.head_dim * (half ? 2 : 4)),
      head_bytes_(key_bytes_ + size_t{kPageTokens} * padded_dim_ * (half ? 2 : 4)),
      page_bytes_(head_bytes_ * shape.kv_heads * layers),
      data_(huge_bytes(page_bytes_ * pages)) {}

std::unique_ptr<KvCache> CpuBackend::make_kv_cache(int layers, const AttentionShape& shape,
                                                   int pages) {
  if (shape.head_dim > kMaxHeadDim || shape.head_dim % 2 != 0) {
    throw Error(ErrorCode::kUnsupported, "head_dim " + std::to_string(shape.head_dim) +
                                             ": even and at most " + std::to_string(kMaxHeadDim) +
                                             " is served");
  }
  return std::make_unique<CpuKvCache>(layers, shape, pages, !fp32_activations_);
}

void CpuBackend::rotate_and_store(KvCache& cache, int layer, const AttentionShape& shape,
                                  const RotaryTable& rotary, const AttentionStep& step,
                                  const float* q_norm, const float* k_norm, float eps, float* qkv) {
  const auto& kv = static_cast<const CpuKvCache&>(cache);
  const auto& table = static_cast<const CpuRotaryTable&>(rotary);
  const int d = shape.head_dim;
  const int width = (shape.heads + 2 * shape.kv_heads) * d;
  for_ranges(step.rows, std::max(1, 4096 / width), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = qkv + t * width;
      const int position = step.positions[t];
      for (int head = 0; head < shape.heads + shape.kv_heads; ++head) {
        const float* norm = head < shape.heads ? q_norm : k_norm;
        float* x = row + head * d;
        if (norm) kernels_.rms_norm(x, norm, d, eps, x);
        kernels_.rotate(x, table.cosines(position), table.sines(position), d / 2);
      }
      const int32_t* pages = step.blocks + step.block_start[step.row_sequence[t]];
      const int page = pages[position / kPageTokens];
      for (int head = 0; head < shape.kv_heads; ++head) {
        const float* key = row + (shape.heads + head) * d;
        store_token(kernels_, kv, page, layer, head, position % kPageTokens, d, key,
                    key + shape.kv_heads * d);
      }
    }
  });
}

void CpuBackend::plan_attention(const AttentionShape& shape, const AttentionStep& step) {
  attention_units_.clear();
  const int group = shape.heads / shape.kv_heads;
  const int heads = std::min(group, kQueryTile);
  const int rows = kQueryTile / heads;
  for (int sequence = 0; sequence < step.sequences; ++sequence) {
    const int end = step.row_start[sequence + 1];
    for (int row = step.row_start[sequence]; row < end; row += rows) {
      for (int head = 0; head < shape.heads; head += group) {
        for (int part = 0; part < group; part += heads) {
          attention_units_.push_back({sequence, row, std::min(rows, end - row), head + part,
                                      std::min(heads, group - part)});
        }
      }
    }
  }
}

void CpuBackend::attention(const KvCache& cache, int layer, const AttentionShape& shape,
                           const AttentionStep& step, const float* qkv, float* y) {
  const auto& kv = static_cast<const CpuKvCache&>(cache);
  const int d = shape.head_dim;
  const int width = (shape.heads + 2 * shape.kv_heads) * d;
  plan_attention(shape, step);
  threads_.for_each(static_cast<int64_t>(attention_units_.size()), [&](int64_t chunk) {
    const AttentionUnit& unit = attention_units_[chunk];
    const int kv_head = unit.head / (shape.heads / shape.kv_heads);
    AttentionTile tile{};
    tile.keys = kv.keys(0, layer, kv_head);
    tile.values = kv.values(0, layer, kv_head);
    tile.page_stride = kv.page_bytes();
    tile.pages = step.blocks + step.block_start[unit.sequence];
    tile.head_dim = d;
    tile.padded_dim = kv.padded_dim();
    tile.query_scale = shape.query_scale;
    tile.softcap = shape.softcap;
    tile.window = shape.window;
    for (int r = 0; r < unit.rows; ++r) {
      const int64_t t = unit.row + r;
      for (int h = 0; h < unit.heads; ++h) {
        const int i = tile.queries++;
        tile.q[i] = qkv + t * width + (unit.head + h) * d;
        tile.y[i] = y + (t * shape.heads + unit.head + h) * d;
        tile.position[i] = step.positions[t];
      }
    }
    (kv.half() ? kernels_.attention_half : kernels_.attention_float)(tile);
  });
}

}  // namespace smore
