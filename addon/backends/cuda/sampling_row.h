#pragma once

#include "backends/cuda/blockwise.h"
#include "backends/cuda/sampling.h"
#include "sampling/softmax.h"

// A row of logits as the kernels that draw from it see it.

namespace smore::cuda {

inline constexpr int kPartThreads = 256;
inline constexpr int kPartWarps = kPartThreads / kWarpSize;
inline constexpr int kDrawThreads = 1024;
inline constexpr int kDrawWarps = kDrawThreads / kWarpSize;

__device__ inline bool changes_logits(const WantedDraw& wanted, const SequenceDraw& s) {
  return wanted.sample && ((s.flags & (kPenalties | kMask)) || s.bias_begin < s.bias_end);
}

// A row of a call, and what kernels tell each other of it.
struct Row {
  WantedDraw wanted;
  const SequenceDraw& s;
  const float* raw;            // V: the logits as they came
  const float* drawn;          // V: as tokens are drawn by
  PartScan* scans;             // P
  PartSums* sums;              // P
  unsigned long long* levels;  // kLevels
  int32_t* listed;             // P
  uint16_t* lists;             // P kPart

  __device__ Row(const ReadoutView& v, int first, int64_t row, const float* logits)
      : wanted(v.wanted[first + row]),
        s(v.sequences[wanted.sequence]),
        raw(logits + row * v.vocab),
        drawn(changes_logits(wanted, s) ? v.changed + row * v.vocab : raw),
        scans(v.scans + row * v.parts),
        sums(v.sums + row * v.parts),
        levels(v.levels + row * kLevels),
        listed(v.listed + row * v.parts),
        lists(v.lists + row * v.parts * kPart) {}

  __device__ bool wants_logprob() const { return !wanted.sample || (s.flags & kLogprobs); }
  __device__ bool is_drawn() const { return wanted.sample && is_random(s); }
  __device__ bool is_cut() const { return wanted.sample && cuda::is_cut(s); }
};

// What the scans of a row's parts come to. All threads of the block, which get the same.
__device__ inline PartScan merge(const PartScan* scans, int parts, float* scratch) {
  PartScan all{-INFINITY, -INFINITY, 1};
  for (int i = static_cast<int>(threadIdx.x); i < parts; i += blockDim.x) {
    all.raw = fmaxf(all.raw, scans[i].raw);
    all.drawn = fmaxf(all.drawn, scans[i].drawn);
    all.finite = all.finite && scans[i].finite;
  }
  all.raw = block_max(all.raw, scratch);
  all.drawn = block_max(all.drawn, scratch);
  all.finite = block_max(all.finite ? 0.0f : 1.0f, scratch) == 0.0f;
  return all;
}

// How tokens of a row are weighed, and which of them min_p leaves.
struct Weights {
  float max;
  float scale;
  float floor;

  __device__ Weights(const SequenceDraw& s, float largest)
      : max(largest), scale(s.scale), floor(fminf(largest + s.min_p_margin, largest)) {}

  __device__ bool keeps(float logit) const { return logit >= floor; }
  __device__ uint64_t operator()(float logit) const { return weight(logit, max, scale); }

  // Rises with the logit. -1 for tokens whose weight is 0, as they are less than e^-28.42 times as
  // likely as the likeliest.
  __device__ int level(float logit) const {
    constexpr float kLevelsPerNat = 9;
    const float below = (max - logit) * scale * kLevelsPerNat;
    return below < kLevels ? kLevels - 1 - static_cast<int>(below) : -1;
  }
};

}  // namespace smore::cuda
