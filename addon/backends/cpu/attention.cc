#include <algorithm>
#include <cstring>
#include <string>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kv_cache.h"
#include "backends/cpu/rotary_table.h"
#include "core/error.h"

namespace smore {
namespace {

// The page of its sequence that row t is stored in.
int page_of(const AttentionStep& step, int64_t t) {
  const int32_t* pages = step.blocks + step.block_start[step.row_sequence[t]];
  return pages[step.positions[t] / kPageTokens];
}

int highest_page(const AttentionStep& step) {
  int highest = 0;
  for (int t = 0; t < step.rows; ++t) highest = std::max(highest, page_of(step, t));
  return highest;
}

int padded(int head_dim) { return (head_dim + kPanel - 1) / kPanel * kPanel; }

}  // namespace

CpuKvCache::CpuKvCache(int layers, const AttentionShape& shape, int pages, DType stored)
    : pages_(pages),
      kv_heads_(shape.kv_heads),
      padded_dim_(padded(shape.head_dim)),
      key_bytes_(kPageTokens * row_bytes(stored, shape.head_dim)),
      head_bytes_(key_bytes_ + kPageTokens * row_bytes(stored, padded_dim_)),
      page_bytes_(head_bytes_ * shape.kv_heads * layers),
      data_(huge_bytes(page_bytes_ * pages)),
      ahead_(data_, page_bytes_ * pages) {}

std::unique_ptr<KvCache> CpuBackend::make_kv_cache(int layers, const AttentionShape& shape,
                                                   int pages) {
  if (shape.head_dim > kMaxHeadDim || shape.head_dim % 2 != 0) {
    throw Error(ErrorCode::kUnsupported, "head_dim " + std::to_string(shape.head_dim) +
                                             ": even and at most " + std::to_string(kMaxHeadDim) +
                                             " is served");
  }
  return std::make_unique<CpuKvCache>(layers, shape, pages, attention_.stored);
}

void CpuBackend::rotate_and_store(KvCache& cache, int layer, const AttentionShape& shape,
                                  const RotaryTable& rotary, const AttentionStep& step,
                                  const float* q_norm, const float* k_norm, float eps, float* qkv) {
  auto& kv = static_cast<CpuKvCache&>(cache);
  if (layer == 0) kv.reach(highest_page(step));
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
      const int page = page_of(step, t);
      for (int head = 0; head < shape.kv_heads; ++head) {
        const float* key = row + (shape.heads + head) * d;
        attention_.store(key, key + shape.kv_heads * d, d, kv.padded_dim(), position % kPageTokens,
                         kv.keys(page, layer, head), kv.values(page, layer, head));
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
  // The last rows of a prompt see the most: they go first, so that no thread ends with them alone.
  const auto units = static_cast<int64_t>(attention_units_.size());
  threads_.for_each(units, [&](int64_t chunk) {
    const AttentionUnit& unit = attention_units_[units - 1 - chunk];
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
    attention_.attend(tile);
  });
}

}  // namespace smore
