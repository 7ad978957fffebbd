#pragma once

#include "backends/backend.h"
#include "backends/cuda/runtime.h"

namespace smore::cuda {

// Pages one after the other; a page holds [layers, K] heads, each its keys and then its values,
// [kPageTokens, d].
struct KvView {
  std::byte* data = nullptr;
  int layers = 0;
  int kv_heads = 0;
  int head_dim = 0;
  bool halves = false;  // float16, else float32
};

class DeviceKvCache final : public KvCache {
 public:
  DeviceKvCache(int layers, const AttentionShape& shape, int pages, bool halves);

  int pages() const override { return pages_; }
  size_t page_bytes() const override { return page_bytes_; }
  const KvView& view() const { return view_; }

 private:
  int pages_;
  KvView view_;
  size_t page_bytes_;
  DeviceMemory memory_;
};

// cos and sin of every position, [positions, d / 2] each.
class DeviceRotaryTable final : public RotaryTable {
 public:
  DeviceRotaryTable(const ModelConfig& config, int positions, const Stream& stream);

  const float* cosines() const { return memory_.as<float>(); }
  const float* sines() const { return cosines() + count_; }

 private:
  int64_t count_;
  DeviceMemory memory_;
};

// A step's arrays on the device.
struct PlacedStep {
  const int32_t* positions = nullptr;     // T
  const int32_t* row_sequence = nullptr;  // T
  int sequences = 0;                      // B
  const int32_t* row_start = nullptr;     // B + 1
  const int32_t* block_start = nullptr;   // B + 1
  const int32_t* blocks = nullptr;
  int longest = 0;  // positions that the row that sees most of them may see, or some more
};

}  // namespace smore::cuda
