#pragma once

#include "backends/cuda/kv_cache.h"

namespace smore::cuda {

// Backend::rotate_and_store. Pointers are the device's.
void rotate_and_store(const KvView& kv, int layer, const AttentionShape& shape,
                      const float* cosines, const float* sines, const PlacedStep& step, int rows,
                      const float* q_norm, const float* k_norm, float eps, float* qkv,
                      const Stream& stream);

// Positions are attended in spans of this many, at multiples of it. A span is summed alone; spans
// are merged in rising order, by one block that walks over them or, where a step has too few rows
// to fill the device, by a second kernel after blocks that took a span each: the same bits either
// way.
inline constexpr int kSpan = 256;

// What stands for so many positions: it stays the same while they grow for long.
int span_bucket(int longest);

// Rows of the largest step whose spans get blocks of their own.
int most_split_rows(const AttentionShape& shape, int processors);

// Floats of scratch that attention() may use for so many rows.
int64_t attention_scratch(const AttentionShape& shape, int rows, int longest);

// Whether spans get blocks of their own.
bool splits_spans(const AttentionShape& shape, int rows, int longest, int processors);

// Backend::attention.  scratch: attention_scratch() floats, when it splits
void attention(const KvView& kv, int layer, const AttentionShape& shape, const PlacedStep& step,
               int rows, bool split, const float* qkv, float* scratch, float* y,
               const Stream& stream);

}  // namespace smore::cuda
