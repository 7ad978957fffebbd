#pragma once

#include "backends/cuda/attention.h"

namespace smore::cuda {

// Whether tensor cores attend: float16 keys and values, for head dimensions that there are kernels
// of. Nothing of a step says so, as the bits differ.
bool by_tensor_cores(const KvView& kv, const AttentionShape& shape);

// attention() by tensor cores: queries and weights are rounded to float16, sums are float32.
void tensor_attention(const KvView& kv, int layer, const AttentionShape& shape,
                      const PlacedStep& step, int rows, bool split, const float* qkv,
                      float* scratch, float* y, const Stream& stream);

}  // namespace smore::cuda
