#pragma once

#include "backends/cuda/sampling_row.h"

// Where top_k and top_p cut a row, and which tokens have to be looked at for that.

namespace smore::cuda {

inline constexpr int kDigitBits = 8;
inline constexpr int kBins = 1 << kDigitBits;
inline constexpr int kFew = 4096;  // tokens that a block keeps at hand
inline constexpr int kEveryToken = INT32_MAX;

// Where bins, from the last one, reach what is asked for.
struct Reached {
  int bin;         // -1: they do not
  uint64_t above;  // what the bins behind it hold
  uint64_t same;   // what it holds
};

// By a warp.
__device__ inline void reach(const unsigned long long* bins, uint64_t need, Reached& reached) {
  constexpr int kBinsPerLane = kBins / kWarpSize;
  static_assert(kLevels == kBins);
  const int highest = kBins - 1 - kBinsPerLane * lane();
  uint64_t own = 0;
  for (int j = 0; j < kBinsPerLane; ++j) own += bins[highest - j];
  const uint64_t upto = warp_running_sum(own);
  const unsigned lanes = __ballot_sync(kAllLanes, upto >= need);
  if (lanes == 0) {
    if (lane() == 0) reached = {-1, 0, 0};
  } else if (lane() == __ffs(static_cast<int>(lanes)) - 1) {
    uint64_t above = upto - own;
    int bin = highest;
    while (above + bins[bin] < need) above += bins[bin--];
    reached = {bin, above, bins[bin]};
  }
}

// The level in which top_k, or else top_p of the weights, is reached. All threads of the block.
__device__ inline Reached reach_level(const Row& row, uint64_t total, Reached& reached) {
  const uint64_t need =
      row.s.top_k > 0 ? static_cast<uint64_t>(row.s.top_k) : nucleus_mass(row.s.top_p, total);
  if (warp() == 0) reach(row.levels, need, reached);
  __syncthreads();
  return reached;
}

// Lists the part's tokens that belong there, in their order.
template <class Belongs>
__device__ void list_part(const Row& row, int vocab, int* warp_counts, Belongs&& belongs) {
  constexpr int kRounds = kPart / kPartThreads;
  const int part = static_cast<int>(blockIdx.y);
  const int first = part * kPart;
  const int begin = warp() * kRounds * kWarpSize + lane();
  unsigned votes[kRounds];
  int own = 0;
  for (int j = 0; j < kRounds; ++j) {
    const int i = begin + j * kWarpSize;
    votes[j] = __ballot_sync(kAllLanes, first + i < vocab && belongs(first + i));
    own += __popc(votes[j]);
  }
  if (lane() == 0) warp_counts[warp()] = own;
  __syncthreads();
  int at = 0;
  int all = 0;
  for (int w = 0; w < kPartWarps; ++w) {
    if (w < warp()) at += warp_counts[w];
    all += warp_counts[w];
  }
  if (threadIdx.x == 0) row.listed[part] = all;
  uint16_t* list = row.lists + first;
  for (int j = 0; j < kRounds; ++j) {
    if (votes[j] >> lane() & 1) {
      list[at + __popc(votes[j] & ((1u << lane()) - 1))] =
          static_cast<uint16_t>(begin + j * kWarpSize);
    }
    at += __popc(votes[j]);
  }
}

struct Found {
  int at;
  uint64_t left;  // of the target, behind those before it
};

struct Scratch {
  float maxima[kDrawWarps];
  uint64_t warp_sums[kDrawWarps];
  unsigned long long bins[kBins];
  Reached reached;
  Found found;
  unsigned differs;
  int gathered;
  TopRead tops[kMaxTopLogprobs];
  float few_logits[kFew];
  int32_t few_tokens[kFew];
};

// Orders as the logits do, with one zero.
__device__ inline uint32_t order_key(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return (bits >> 31) != 0 ? ~bits : bits | 1u << 31;
}

// Tokens of larger logits, and of this logit those up to a token.
struct Border {
  uint32_t key = 0;
  int32_t token = kEveryToken;

  __device__ bool keeps(float logit, int i) const {
    const uint32_t own = order_key(logit);
    return own > key || (own == key && i <= token);
  }
};

// The tokens among which a cut falls, in their order: listed ones, or all of a row.
struct Candidates {
  const float* logits;
  const int32_t* tokens;  // null: each is its own place
  int count;
  float floor = -INFINITY;
  Border border{};

  __device__ int token(int i) const { return tokens == nullptr ? i : tokens[i]; }
  __device__ bool keeps(int i) const {
    return logits[i] >= floor && border.keeps(logits[i], token(i));
  }
};

struct One {
  __device__ uint64_t operator()(float) const { return 1; }
};

// The first at which the amounts so far exceed `target`; 0 where all do not.
template <class Amount>
__device__ Found find(uint64_t target, int count, Scratch& scratch, Amount&& amount) {
  const int each = (count + kDrawThreads - 1) / kDrawThreads;
  const int begin = min(count, static_cast<int>(threadIdx.x) * each);
  const int end = min(count, begin + each);
  uint64_t sum = 0;
  for (int i = begin; i < end; ++i) sum += amount(i);
  const RunningSum running = block_running_sum(sum, scratch.warp_sums);
  uint64_t before = running.upto - sum;
  if (before <= target && target < running.upto) {
    int at = begin;
    for (uint64_t own = amount(at); target >= before + own; own = amount(++at)) before += own;
    scratch.found = {at, target - before};
  } else if (threadIdx.x == 0 && target >= running.all) {
    scratch.found = {0, 0};
  }
  __syncthreads();
  return scratch.found;
}

// Of a part that was found, the token.
template <class Amount>
__device__ int find_in_part(const Found& part, int vocab, Scratch& scratch, Amount&& amount) {
  const int begin = part.at * kPart;
  return begin + find(part.left, min(kPart, vocab - begin), scratch, [&](int i) {
                   return amount(begin + i);
                 }).at;
}

// What the parts have listed, in one list where it is few, else all of the row.
__device__ inline Candidates take_lists(const ReadoutView& v, const Row& row, const float* logits,
                                        float floor, Scratch& scratch) {
  int32_t* ends = row.listed;
  int all = 0;
  for (int done = 0; done < v.parts; done += kDrawThreads) {
    const int part = done + static_cast<int>(threadIdx.x);
    const uint64_t own = part < v.parts ? static_cast<uint64_t>(ends[part]) : 0;
    const RunningSum sum = block_running_sum(own, scratch.warp_sums);
    if (part < v.parts) ends[part] = all + static_cast<int>(sum.upto);
    all += static_cast<int>(sum.all);
  }
  __syncthreads();
  if (all > kFew) return {logits, nullptr, v.vocab, floor};
  for (int part = warp(); part < v.parts; part += kDrawWarps) {
    const int begin = part > 0 ? ends[part - 1] : 0;
    const uint16_t* list = row.lists + int64_t{part} * kPart;
    for (int i = begin + lane(); i < ends[part]; i += kWarpSize) {
      const int32_t token = part * kPart + list[i - begin];
      scratch.few_tokens[i] = token;
      scratch.few_logits[i] = logits[token];
    }
  }
  __syncthreads();
  return {scratch.few_logits, scratch.few_tokens, all};
}

// Bits of the keys of candidates, from the lowest, in which they differ from `key`.
__device__ inline int differing_bits(const Candidates& of, uint32_t key, Scratch& scratch) {
  __syncthreads();  // of an earlier use
  if (threadIdx.x == 0) scratch.differs = 1;
  __syncthreads();
  unsigned own = 0;
  for (int i = static_cast<int>(threadIdx.x); i < of.count; i += kDrawThreads) {
    if (of.keeps(i)) own |= order_key(of.logits[i]) ^ key;
  }
  if (own != 0) atomicOr(&scratch.differs, own);
  __syncthreads();
  return 32 - __clz(static_cast<int>(scratch.differs));
}

// The border behind the fewest candidates, by falling logits and rising ids, whose amounts reach
// `need` (more than 0); their own when all do not. A radix descent over the keys.
template <class Amount>
__device__ Border narrow(const Candidates& of, uint64_t need, Scratch& scratch, Amount&& amount) {
  const uint32_t some = order_key(of.logits[0]);
  int left = differing_bits(of, some, scratch);
  uint32_t key = left < 32 ? some >> left << left : 0;
  uint64_t same = 0;
  while (left > 0) {
    const int above = left;
    left = max(left - kDigitBits, 0);
    __syncthreads();
    if (threadIdx.x < kBins) scratch.bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < of.count; i += kDrawThreads) {
      const uint32_t own = order_key(of.logits[i]);
      if (!of.keeps(i) || uint64_t{own ^ key} >> above != 0) continue;
      const unsigned digit = own >> left & ((1u << (above - left)) - 1);
      atomicAdd(&scratch.bins[digit], static_cast<unsigned long long>(amount(of.logits[i])));
    }
    __syncthreads();
    if (warp() == 0) reach(scratch.bins, need, scratch.reached);
    __syncthreads();
    const Reached reached = scratch.reached;
    if (reached.bin < 0) return of.border;
    key |= static_cast<uint32_t>(reached.bin) << left;
    need -= reached.above;
    same = reached.same;
  }
  if (need == same) return {key, key == of.border.key ? of.border.token : kEveryToken};
  const auto of_equals = [&](int i) -> uint64_t {
    return order_key(of.logits[i]) == key && of.keeps(i) ? amount(of.logits[i]) : 0;
  };
  return {key, of.token(find(need - 1, of.count, scratch, of_equals).at)};
}

}  // namespace smore::cuda
