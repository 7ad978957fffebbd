#include "backends/cuda/sampling.h"

#include "backends/cuda/warp.h"
#include "sampling/sampler.h"
#include "sampling/softmax.h"

namespace smore::cuda {
namespace {

constexpr int kScanThreads = kPartWarps * kWarpSize;
constexpr int kDrawThreads = 1024;
constexpr int kDrawWarps = kDrawThreads / kWarpSize;
constexpr int kBins = 256;
constexpr int kBinsPerLane = kBins / kWarpSize;
constexpr int kEveryToken = INT32_MAX;
constexpr float kLargest = 3.4028235e38f;

// Of a token in a text: the prompt has it, and how often it was sampled.
constexpr uint32_t kInPrompt = 1u << 31;
constexpr uint32_t kTimesSampled = kInPrompt - 1;

__device__ int lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }
__device__ int warp() { return static_cast<int>(threadIdx.x) / kWarpSize; }

__device__ bool is_ok(int32_t status) {
  return status == static_cast<int32_t>(SequenceStatus::kOk);
}

// Every lane gets the sum of those before it and its own.
__device__ uint64_t warp_running_sum(uint64_t value) {
  for (int step = 1; step < kWarpSize; step *= 2) {
    const uint64_t below = __shfl_sync(kAllLanes, value, max(lane() - step, 0));
    if (lane() >= step) value += below;
  }
  return value;
}

__device__ uint64_t warp_total(uint64_t value) {
  return __shfl_sync(kAllLanes, warp_running_sum(value), kWarpSize - 1);
}

// --- slots

__global__ void restore_kernel(ReadoutView v) {
  const int b = static_cast<int>(blockIdx.y);
  const SequenceDraw& s = v.sequences[b];
  const int first = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int step = static_cast<int>(gridDim.x * blockDim.x);
  if (s.flags & kRestoreHistory) {
    if (s.flags & kPenalties) {
      for (int i = first; i < v.vocab; i += step) v.counts[int64_t{s.slot} * v.vocab + i] = 0;
    }
    if (s.flags & kPool) {
      for (int i = first; i < v.width; i += step) v.state_sums[int64_t{s.slot} * v.width + i] = 0;
    }
    if (first == 0) v.statuses[s.slot] = static_cast<int32_t>(SequenceStatus::kOk);
  }
  if (first == 0) v.status[b] = v.statuses[s.slot];
}

__global__ void history_kernel(ReadoutView v, const HistoryRead* histories, const int32_t* tokens) {
  const HistoryRead h = histories[blockIdx.x];
  uint32_t* counts = v.counts + int64_t{h.slot} * v.vocab;
  for (int i = h.begin + static_cast<int>(threadIdx.x); i < h.end; i += blockDim.x) {
    if (i < h.prompt_end) {
      atomicOr(&counts[tokens[i]], kInPrompt);
    } else {
      atomicAdd(&counts[tokens[i]], 1u);
    }
  }
}

__global__ void fail_kernel(ReadoutView v, const int32_t* sequences, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= count) return;
  const int b = sequences[i];
  int32_t& status = v.statuses[v.sequences[b].slot];
  if (is_ok(status)) status = static_cast<int32_t>(SequenceStatus::kAdapterFailed);
  v.status[b] = status;
}

// --- what a row has

__device__ bool changes_logits(const WantedDraw& wanted, const SequenceDraw& s) {
  return wanted.sample && ((s.flags & (kPenalties | kMask)) || s.bias_begin < s.bias_end);
}

__device__ float penalised(const SequenceDraw& s, float logit, uint32_t seen) {
  if (seen == 0) return logit;
  logit = logit > 0 ? logit / s.repetition : logit * s.repetition;
  const uint32_t sampled = seen & kTimesSampled;
  if (sampled > 0) logit -= s.presence + s.frequency * static_cast<float>(sampled);
  return logit;
}

// Biases of one token add up in their order, by the thread that has the first of them.
__device__ void add_biases(const ReadoutView& v, const SequenceDraw& s, int begin, int end,
                           float* y) {
  for (int i = s.bias_begin + static_cast<int>(threadIdx.x); i < s.bias_end; i += kScanThreads) {
    const int token = v.biases[i].token;
    if (token < begin || token >= end) continue;
    int first = s.bias_begin;
    while (v.biases[first].token != token) ++first;
    if (first != i) continue;
    for (int j = i; j < s.bias_end; ++j) {
      if (v.biases[j].token == token) y[token] += v.biases[j].value;
    }
  }
}

// Changes a part of a row in y, where penalties have been applied, and returns the largest logit
// that the thread has seen.
__device__ float change_part(const ReadoutView& v, const SequenceDraw& s, int begin, int end,
                             float* y) {
  __syncthreads();
  add_biases(v, s, begin, end, y);
  __syncthreads();
  const uint32_t* mask = (s.flags & kMask) ? v.masks + int64_t{s.mask} * v.mask_words : nullptr;
  float most = -INFINITY;
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kScanThreads) {
    if (mask != nullptr && (mask[i / 32] >> (i % 32) & 1) == 0) y[i] = -INFINITY;
    most = fmaxf(most, y[i]);
  }
  return most;
}

__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(ReadoutView v, int first, const float* logits) {
  const int64_t row = blockIdx.y;
  const WantedDraw wanted = v.wanted[first + row];
  const SequenceDraw& s = v.sequences[wanted.sequence];
  const float* x = logits + row * v.vocab;
  float* y = v.changed + row * v.vocab;
  const bool changes = changes_logits(wanted, s);
  const uint32_t* seen = (s.flags & kPenalties) ? v.counts + int64_t{s.slot} * v.vocab : nullptr;
  const int begin = static_cast<int>(blockIdx.x) * kPart;
  const int end = min(v.vocab, begin + kPart);
  float most = -INFINITY;
  bool finite = true;
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kScanThreads) {
    finite = finite && fabsf(x[i]) <= kLargest;
    most = fmaxf(most, x[i]);
    if (changes) y[i] = seen != nullptr ? penalised(s, x[i], seen[i]) : x[i];
  }
  const float drawn = changes ? change_part(v, s, begin, end, y) : most;
  const WarpScan scan{warp_max(most), warp_max(drawn), __ballot_sync(kAllLanes, !finite) == 0};
  if (lane() == 0) v.scans[(row * v.parts + blockIdx.x) * kPartWarps + warp()] = scan;
  // Before the sequence's other rows may change it.
  if (blockIdx.x == 0 && threadIdx.x == 0) v.reads[first + row].valid = is_ok(v.statuses[s.slot]);
}

// A row's own: what scans and sums of its parts come to.
struct RowScans {
  const WarpScan* scans;
  int count;

  __device__ RowScans(const ReadoutView& v, int64_t row)
      : scans(v.scans + row * v.parts * kPartWarps), count(v.parts * kPartWarps) {}

  // All threads of the block, which get the same.
  __device__ WarpScan merge(float* scratch) const {
    WarpScan all{-INFINITY, -INFINITY, 1};
    for (int i = static_cast<int>(threadIdx.x); i < count; i += blockDim.x) {
      all.raw = fmaxf(all.raw, scans[i].raw);
      all.drawn = fmaxf(all.drawn, scans[i].drawn);
      all.finite = all.finite && scans[i].finite;
    }
    all.raw = block_max(all.raw, scratch);
    all.drawn = block_max(all.drawn, scratch);
    all.finite = block_max(all.finite ? 0.0f : 1.0f, scratch) == 0.0f;
    return all;
  }

  // A logit that `wanted` tokens have at least: the warps' largest are as many tokens.
  __device__ float reached_by(int wanted, float WarpScan::*largest, float* found) const {
    if (wanted > count) return -INFINITY;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += blockDim.x) {
      const float own = scans[i].*largest;
      int rank = 0;
      for (int j = 0; j < count; ++j) {
        const float other = scans[j].*largest;
        rank += other > own || (other == own && j < i) ? 1 : 0;
      }
      if (rank == wanted - 1) *found = own;
    }
    __syncthreads();
    return *found;
  }
};

__device__ bool is_greedy(const SequenceDraw& s) { return s.temperature < kGreedyBelow; }

__global__ void __launch_bounds__(kScanThreads)
    weigh_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ float scratch[kPartWarps];
  __shared__ uint64_t sums[2][kPartWarps];
  const int64_t row = blockIdx.y;
  const WantedDraw wanted = v.wanted[first + row];
  const SequenceDraw& s = v.sequences[wanted.sequence];
  const float* x = logits + row * v.vocab;
  const float* y = changes_logits(wanted, s) ? v.changed + row * v.vocab : x;
  const bool raw = !wanted.sample || (s.flags & kLogprobs);
  const bool drawn = wanted.sample && !is_greedy(s);
  const WarpScan most = RowScans(v, row).merge(scratch);
  const int begin = static_cast<int>(blockIdx.x) * kPart;
  const int end = min(v.vocab, begin + kPart);
  PartSums own{0, 0};
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kScanThreads) {
    if (raw) own.raw += weight(x[i], most.raw, 1.0f);
    if (drawn) own.drawn += weight(y[i], most.drawn, s.scale);
  }
  own = {warp_total(own.raw), warp_total(own.drawn)};
  if (lane() == 0) {
    sums[0][warp()] = own.raw;
    sums[1][warp()] = own.drawn;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  PartSums all{0, 0};
  for (int w = 0; w < kPartWarps; ++w) {
    all.raw += sums[0][w];
    all.drawn += sums[1][w];
  }
  v.sums[row * v.parts + blockIdx.x] = all;
}

// --- choosing tokens of a row, by a block

struct Scratch {
  float maxima[kDrawWarps];
  uint64_t warp_sums[kDrawWarps];
  unsigned long long bins[kBins];
  uint64_t above;  // what the bins above the digit hold
  uint64_t same;   // what the digit's bin holds
  int digit;
  int found;
  float bound;
  int gathered;
  TopRead tops[kMaxTopLogprobs];
};

// Orders as the logits do, with one zero.
__device__ uint32_t order_key(float logit) {
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

// The row that is drawn from: what cuts have left of it.
struct Cut {
  const float* logits;
  int count;
  float floor = -INFINITY;
  Border border{};

  __device__ bool keeps(int i) const { return logits[i] >= floor && border.keeps(logits[i], i); }
};

struct One {
  __device__ uint64_t operator()(float) const { return 1; }
};

struct Weight {
  float max;
  float scale;
  __device__ uint64_t operator()(float logit) const { return weight(logit, max, scale); }
};

// What each part holds, in sums[part].drawn; returns what all do.
template <class Amount>
__device__ uint64_t sum_parts(int parts, int count, PartSums* sums, Amount&& amount) {
  __syncthreads();
  for (int part = warp(); part < parts; part += kDrawWarps) {
    const int end = min(count, (part + 1) * kPart);
    uint64_t own = 0;
    for (int i = part * kPart + lane(); i < end; i += kWarpSize) own += amount(i);
    own = warp_total(own);
    if (lane() == 0) sums[part].drawn = own;
  }
  __syncthreads();
  uint64_t total = 0;
  for (int part = 0; part < parts; ++part) total += sums[part].drawn;
  return total;
}

// The first token at which the amounts so far exceed `target`, which is less than all. The parts'
// sums are there.
template <class Amount>
__device__ int find(uint64_t target, int count, const PartSums* sums, Scratch& scratch,
                    Amount&& amount) {
  constexpr int kEach = kPart / kDrawThreads;
  int part = 0;
  while (target >= sums[part].drawn) target -= sums[part++].drawn;
  const int begin = part * kPart + static_cast<int>(threadIdx.x) * kEach;
  uint64_t own[kEach];
  uint64_t sum = 0;
  for (int j = 0; j < kEach; ++j) {
    own[j] = begin + j < count ? amount(begin + j) : 0;
    sum += own[j];
  }
  uint64_t before = warp_running_sum(sum);
  __syncthreads();  // of an earlier use
  if (lane() == kWarpSize - 1) scratch.warp_sums[warp()] = before;
  __syncthreads();
  before -= sum;
  for (int w = 0; w < warp(); ++w) before += scratch.warp_sums[w];
  if (before <= target && target < before + sum) {
    int j = 0;
    while (target >= before + own[j]) before += own[j++];
    scratch.found = begin + j;
  }
  __syncthreads();
  return scratch.found;
}

// The digit, from the top, at which the bins reach `need`, in scratch; -1 when they do not. By a
// warp.
__device__ void choose_digit(uint64_t need, Scratch& scratch) {
  const int highest = kBins - 1 - kBinsPerLane * lane();
  uint64_t own = 0;
  for (int j = 0; j < kBinsPerLane; ++j) own += scratch.bins[highest - j];
  const uint64_t upto = warp_running_sum(own);
  const unsigned reached = __ballot_sync(kAllLanes, upto >= need);
  if (reached == 0) {
    if (lane() == 0) scratch.digit = -1;
  } else if (lane() == __ffs(static_cast<int>(reached)) - 1) {
    uint64_t above = upto - own;
    int digit = highest;
    while (above + scratch.bins[digit] < need) above += scratch.bins[digit--];
    scratch.digit = digit;
    scratch.above = above;
    scratch.same = scratch.bins[digit];
  }
}

// The border behind the fewest tokens of a cut, by falling logits and rising ids, whose amounts
// reach `need` (more than 0); the cut's own when all do not. A radix descent over the keys.
template <class Amount>
__device__ Border narrow(const ReadoutView& v, const Cut& cut, uint64_t need, PartSums* sums,
                         Scratch& scratch, Amount&& amount) {
  constexpr int kDigitBits = 8;
  uint32_t key = 0;
  uint64_t same = 0;
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    __syncthreads();
    if (threadIdx.x < kBins) scratch.bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < cut.count; i += kDrawThreads) {
      if (!cut.keeps(i)) continue;
      const uint64_t differs = uint64_t{order_key(cut.logits[i]) ^ key} >> shift;
      if (differs >= kBins) continue;  // above the digit it is another key
      const unsigned digit = order_key(cut.logits[i]) >> shift & (kBins - 1);
      atomicAdd(&scratch.bins[digit], static_cast<unsigned long long>(amount(cut.logits[i])));
    }
    __syncthreads();
    if (warp() == 0) choose_digit(need, scratch);
    __syncthreads();
    if (scratch.digit < 0) return cut.border;
    key |= static_cast<uint32_t>(scratch.digit) << shift;
    need -= scratch.above;
    same = scratch.same;
  }
  if (need == same) return {key, key == cut.border.key ? cut.border.token : kEveryToken};
  const auto of_equals = [&](int i) {
    return order_key(cut.logits[i]) == key && cut.keeps(i) ? amount(cut.logits[i]) : 0;
  };
  sum_parts(v.parts, cut.count, sums, of_equals);
  return {key, find(need - 1, cut.count, sums, scratch, of_equals)};
}

// A logit below which no token is in the nucleus (sampler.cc): keeps most out of the bins, and
// nothing depends on it.
__device__ float least_of_nucleus(const SequenceDraw& s, uint64_t total, int vocab, float max) {
  const double floor = 0.4 * static_cast<double>(total) / kOne * (1.0 - s.top_p) / vocab;
  const float margin = s.temperature * static_cast<float>(log(floor));
  return max + margin - 0x1p-22f * (fabsf(max) + fabsf(margin));
}

// Applies min_p, top_k and top_p.
__device__ void apply_cuts(const ReadoutView& v, const SequenceDraw& s, const RowScans& scans,
                           Weight weights, uint64_t total, PartSums* sums, Scratch& scratch,
                           Cut& cut) {
  const auto kept_weight = [&](int i) { return cut.keeps(i) ? weights(cut.logits[i]) : 0; };
  const bool whole = s.top_k == 0 && s.min_p_margin == -INFINITY;
  cut.floor = fminf(weights.max + s.min_p_margin, weights.max);
  if (s.top_k > 0) {
    const float bound = scans.reached_by(s.top_k, &WarpScan::drawn, &scratch.bound);
    const Cut likely{cut.logits, cut.count, fmaxf(cut.floor, bound), cut.border};
    cut.border = narrow(v, likely, s.top_k, sums, scratch, One{});
  }
  if (s.top_p >= 1) return;
  if (!whole) total = sum_parts(v.parts, cut.count, sums, kept_weight);
  Cut likely = cut;
  if (whole) likely.floor = least_of_nucleus(s, total, cut.count, weights.max);
  cut.border = narrow(v, likely, nucleus_mass(s.top_p, total), sums, scratch, weights);
}

__device__ int draw(const ReadoutView& v, const SequenceDraw& s, const RowScans& scans,
                    const float* logits, float most, PartSums* sums, Scratch& scratch) {
  Cut cut{logits, v.vocab};
  if (is_greedy(s)) {
    const auto is_most = [&](int i) -> uint64_t { return logits[i] == most ? 1 : 0; };
    sum_parts(v.parts, v.vocab, sums, is_most);
    return find(0, v.vocab, sums, scratch, is_most);
  }
  const Weight weights{most, s.scale};
  uint64_t total = 0;
  for (int part = 0; part < v.parts; ++part) total += sums[part].drawn;
  const auto kept_weight = [&](int i) { return cut.keeps(i) ? weights(logits[i]) : 0; };
  if (s.top_k > 0 || s.top_p < 1 || s.min_p_margin > -INFINITY) {
    apply_cuts(v, s, scans, weights, total, sums, scratch, cut);
    total = sum_parts(v.parts, v.vocab, sums, kept_weight);
  }
  return find(share_of(total, s.uniform), v.vocab, sums, scratch, kept_weight);
}

__global__ void __launch_bounds__(kDrawThreads)
    draw_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ Scratch scratch;
  const int64_t row = blockIdx.x;
  const WantedDraw wanted = v.wanted[first + row];
  const SequenceDraw& s = v.sequences[wanted.sequence];
  const float* x = logits + row * v.vocab;
  RowRead& to = v.reads[first + row];
  const RowScans scans(v, row);
  const WarpScan most = scans.merge(scratch.maxima);
  PartSums* sums = v.sums + row * v.parts;
  RowRead read{0, most.raw, 0, wanted.next_token, 0};
  for (int part = 0; part < v.parts; ++part) read.total += sums[part].raw;
  if (to.valid == 0) return;
  if (!most.finite) {
    __syncthreads();  // all have seen that it was valid
    if (threadIdx.x != 0) return;
    to.valid = 0;
    const auto not_finite = static_cast<int32_t>(SequenceStatus::kNotFinite);
    v.status[wanted.sequence] = not_finite;
    if (wanted.sample) v.statuses[s.slot] = not_finite;
    return;
  }
  if (wanted.sample) {
    const float* y = changes_logits(wanted, s) ? v.changed + row * v.vocab : x;
    read.token = draw(v, s, scans, y, most.drawn, sums, scratch);
  }
  if (threadIdx.x != 0) return;
  read.logit = x[read.token];
  read.valid = 1;
  to = read;
  if (!wanted.sample) return;
  v.tokens[s.slot] = read.token;
  if (s.flags & kPenalties) v.counts[int64_t{s.slot} * v.vocab + read.token] += 1;
}

// The likeliest tokens of rows that want them, falling; equal ones by rising id.
__global__ void __launch_bounds__(kDrawThreads)
    top_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ Scratch scratch;
  const int64_t row = blockIdx.x;
  const int wanted = v.wanted[first + row].top;
  if (wanted == 0 || v.reads[first + row].valid == 0) return;
  Cut cut{logits + row * v.vocab, v.vocab};
  cut.floor = RowScans(v, row).reached_by(wanted, &WarpScan::raw, &scratch.bound);
  cut.border = narrow(v, cut, wanted, v.sums + row * v.parts, scratch, One{});
  __syncthreads();
  if (threadIdx.x == 0) scratch.gathered = 0;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < v.vocab; i += kDrawThreads) {
    if (cut.keeps(i)) scratch.tops[atomicAdd(&scratch.gathered, 1)] = {i, cut.logits[i]};
  }
  __syncthreads();
  if (static_cast<int>(threadIdx.x) >= scratch.gathered) return;
  const TopRead own = scratch.tops[threadIdx.x];
  int rank = 0;
  for (int i = 0; i < scratch.gathered; ++i) {
    const TopRead other = scratch.tops[i];
    rank +=
        other.logit > own.logit || (other.logit == own.logit && other.token < own.token) ? 1 : 0;
  }
  v.tops[int64_t{first + row} * kMaxTopLogprobs + rank] = own;
}

// --- pooling

// A block adds a sequence's rows, in their order.
__global__ void __launch_bounds__(kDrawThreads)
    pool_kernel(ReadoutView v, const PooledRead* pooled, const float* states) {
  __shared__ float scratch[kDrawWarps];
  const PooledRead own = pooled[blockIdx.x];
  if (!is_ok(v.statuses[own.slot])) return;
  float* sums = v.state_sums + int64_t{own.slot} * v.width;
  bool finite = true;
  for (int i = static_cast<int>(threadIdx.x); i < v.width; i += kDrawThreads) {
    const float* state = states + int64_t{own.rows.first} * v.width + i;
    float sum = sums[i];
    for (int row = 0; row < own.rows.rows; ++row) sum += state[int64_t{row} * v.width];
    sums[i] = sum;
    const float mean = sum / static_cast<float>(own.positions);
    v.pooled[int64_t{blockIdx.x} * v.width + i] = mean;
    finite = finite && fabsf(mean) <= kLargest;
  }
  finite = block_max(finite ? 0.0f : 1.0f, scratch) == 0.0f;
  if (threadIdx.x != 0 || finite) return;
  v.status[own.rows.sequence] = v.statuses[own.slot] =
      static_cast<int32_t>(SequenceStatus::kNotFinite);
}

constexpr int kThreads = 256;

unsigned blocks_for(int count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

}  // namespace

void restore_slots(const ReadoutView& view, int sequences, const Stream& stream) {
  constexpr unsigned kBlocks = 8;
  launch(restore_kernel, dim3(kBlocks, static_cast<unsigned>(sequences)), kThreads, 0, stream,
         view);
}

void count_histories(const ReadoutView& view, const HistoryRead* histories, int count,
                     const int32_t* tokens, const Stream& stream) {
  launch(history_kernel, count, kThreads, 0, stream, view, histories, tokens);
}

void fail_sequences(const ReadoutView& view, const int32_t* sequences, int count,
                    const Stream& stream) {
  launch(fail_kernel, blocks_for(count), kThreads, 0, stream, view, sequences, count);
}

void read_rows(const ReadoutView& view, int first, int count, const float* logits, bool tops,
               const Stream& stream) {
  const dim3 parts(static_cast<unsigned>(view.parts), static_cast<unsigned>(count));
  launch(scan_kernel, parts, kScanThreads, 0, stream, view, first, logits);
  launch(weigh_kernel, parts, kScanThreads, 0, stream, view, first, logits);
  launch(draw_kernel, count, kDrawThreads, 0, stream, view, first, logits);
  if (tops) launch(top_kernel, count, kDrawThreads, 0, stream, view, first, logits);
}

void pool_states(const ReadoutView& view, const PooledRead* pooled, int count, const float* states,
                 const Stream& stream) {
  launch(pool_kernel, count, kDrawThreads, 0, stream, view, pooled, states);
}

}  // namespace smore::cuda
