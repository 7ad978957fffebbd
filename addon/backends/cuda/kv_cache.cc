#include "backends/cuda/kv_cache.h"

#include <string>

#include "backends/cpu/kernels.h"
#include "backends/cpu/rotary_table.h"
#include "core/error.h"

namespace smore::cuda {

DeviceKvCache::DeviceKvCache(int layers, const AttentionShape& shape, int pages, bool halves)
    : pages_(pages),
      view_{.data = nullptr,
            .layers = layers,
            .kv_heads = shape.kv_heads,
            .head_dim = shape.head_dim,
            .halves = halves},
      page_bytes_(size_t{2} * kPageTokens * shape.head_dim * shape.kv_heads * layers *
                  (halves ? 2 : 4)) {
  if (shape.head_dim > kMaxHeadDim || shape.head_dim % 2 != 0) {
    throw Error(ErrorCode::kUnsupported, "head_dim " + std::to_string(shape.head_dim) +
                                             ": even and at most " + std::to_string(kMaxHeadDim) +
                                             " is served");
  }
  memory_ = DeviceMemory(page_bytes_ * pages);
  view_.data = memory_.data();
}

DeviceRotaryTable::DeviceRotaryTable(const ModelConfig& config, int positions, const Stream& stream)
    : count_(int64_t{positions} * (config.head_dim / 2)),
      memory_(size_t{2} * count_ * sizeof(float)) {
  const CpuRotaryTable table(config, positions);
  copy_to_device(memory_.data(), table.cosines(0), count_ * sizeof(float), stream);
  copy_to_device(memory_.as<float>() + count_, table.sines(0), count_ * sizeof(float), stream);
  stream.synchronize();
}

}  // namespace smore::cuda
