#include "backends/cuda/sampling.h"

#include "backends/cuda/sampling_cuts.h"

namespace smore::cuda {
namespace {

// --- all of a row, by a block for each part

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
  for (int i = s.bias_begin + static_cast<int>(threadIdx.x); i < s.bias_end; i += kPartThreads) {
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
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kPartThreads) {
    if (mask != nullptr && (mask[i / 32] >> (i % 32) & 1) == 0) y[i] = -INFINITY;
    most = fmaxf(most, y[i]);
  }
  return most;
}

__global__ void __launch_bounds__(kPartThreads)
    scan_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ float scratch[kPartWarps];
  const Row row(v, first, blockIdx.x, logits);
  const SequenceDraw& s = row.s;
  const float* x = row.raw;
  float* y = v.changed + int64_t{blockIdx.x} * v.vocab;
  const bool changes = changes_logits(row.wanted, s);
  const uint32_t* seen = (s.flags & kPenalties) ? v.counts + int64_t{s.slot} * v.vocab : nullptr;
  const int begin = static_cast<int>(blockIdx.y) * kPart;
  const int end = min(v.vocab, begin + kPart);
  float most = -INFINITY;
  bool finite = true;
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kPartThreads) {
    finite = finite && fabsf(x[i]) <= kLargest;
    most = fmaxf(most, x[i]);
    if (changes) y[i] = seen != nullptr ? penalised(s, x[i], seen[i]) : x[i];
  }
  const float drawn = changes ? change_part(v, s, begin, end, y) : most;
  const PartScan scan{block_max(most, scratch), block_max(drawn, scratch),
                      block_max(finite ? 0.0f : 1.0f, scratch) == 0.0f};
  if (threadIdx.x == 0) row.scans[blockIdx.y] = scan;
  if (blockIdx.y != 0) return;
  static_assert(kLevels == kPartThreads);
  row.levels[threadIdx.x] = 0;
  // Before the sequence's other rows may change it.
  if (threadIdx.x == 0) v.reads[first + blockIdx.x].valid = is_ok(v.statuses[s.slot]);
}

// Sums of the parts, and of the levels of rows that are cut: tokens where top_k cuts first, else
// weights.
__global__ void __launch_bounds__(kPartThreads)
    weigh_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ float scratch[kPartWarps];
  __shared__ uint64_t warp_sums[kPartWarps];
  __shared__ unsigned long long levels[kLevels];
  const Row row(v, first, blockIdx.x, logits);
  const bool raw = row.wants_logprob();
  const bool drawn = row.is_drawn();
  const bool cut = row.is_cut();
  if (!raw && !drawn) return;
  const PartScan most = merge(row.scans, v.parts, scratch);
  const Weights weights(row.s, most.drawn);
  levels[threadIdx.x] = 0;
  __syncthreads();
  const int begin = static_cast<int>(blockIdx.y) * kPart;
  const int end = min(v.vocab, begin + kPart);
  uint64_t raw_sum = 0;
  uint64_t drawn_sum = 0;
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kPartThreads) {
    if (raw) raw_sum += weight(row.raw[i], most.raw, 1.0f);
    const float logit = row.drawn[i];
    if (!drawn || !weights.keeps(logit)) continue;
    const uint64_t own = weights(logit);
    drawn_sum += own;
    const int level = cut ? weights.level(logit) : -1;
    if (level >= 0) {
      atomicAdd(&levels[level], row.s.top_k > 0 ? 1ull : static_cast<unsigned long long>(own));
    }
  }
  raw_sum = block_running_sum(raw_sum, warp_sums).all;
  drawn_sum = block_running_sum(drawn_sum, warp_sums).all;
  if (threadIdx.x == 0) row.sums[blockIdx.y] = {raw_sum, drawn_sum, 0};
  if (levels[threadIdx.x] > 0) atomicAdd(&row.levels[threadIdx.x], levels[threadIdx.x]);
}

// Of rows that are cut. Of those that top_p cuts first it lists the level in which the border lies,
// and adds up those above it; of the others all levels from there on.
__global__ void __launch_bounds__(kPartThreads)
    list_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ float scratch[kPartWarps];
  __shared__ uint64_t warp_sums[kPartWarps];
  __shared__ int warp_counts[kPartWarps];
  __shared__ Reached reached;
  const Row row(v, first, blockIdx.x, logits);
  if (!row.is_cut()) return;
  const Weights weights(row.s, merge(row.scans, v.parts, scratch).drawn);
  const uint64_t total =
      block_total(v.parts, warp_sums, [&](int part) { return row.sums[part].drawn; });
  const int level = max(reach_level(row, total, reached).bin, 0);
  const bool ranks = row.s.top_k > 0;
  const float* y = row.drawn;
  list_part(row, v.vocab, warp_counts, [&](int i) {
    if (!weights.keeps(y[i])) return false;
    const int own = weights.level(y[i]);
    return own == level || (ranks && own > level);
  });
  const int begin = static_cast<int>(blockIdx.y) * kPart;
  const int count = min(v.vocab - begin, kPart);
  const uint64_t kept = block_total(ranks ? 0 : count, warp_sums, [&](int i) -> uint64_t {
    const float logit = y[begin + i];
    return weights.keeps(logit) && weights.level(logit) > level ? weights(logit) : 0;
  });
  if (threadIdx.x == 0) row.sums[blockIdx.y].kept = kept;
}

// --- choosing tokens of a row, by a block

// Among the candidates of a row that is cut.
__device__ int draw_cut(const ReadoutView& v, const Row& row, const Weights& weights,
                        uint64_t total, Scratch& scratch) {
  const SequenceDraw& s = row.s;
  const Reached level = reach_level(row, total, scratch.reached);
  Candidates of = take_lists(v, row, row.drawn, weights.floor, scratch);
  const bool few = of.tokens != nullptr;
  const auto kept = [&](int i) -> uint64_t { return of.keeps(i) ? weights(of.logits[i]) : 0; };
  if (s.top_k > 0 && level.bin >= 0) of.border = narrow(of, s.top_k, scratch, One{});
  if (s.top_p < 1) {
    if (s.top_k > 0) total = block_total(of.count, scratch.warp_sums, kept);
    const uint64_t above = few && s.top_k == 0 ? level.above : 0;
    of.border = narrow(of, nucleus_mass(s.top_p, total) - above, scratch, weights);
  }
  if (!few) {
    total = block_total(of.count, scratch.warp_sums, kept);
    return find(share_of(total, s.uniform), of.count, scratch, kept).at;
  }
  for (int i = static_cast<int>(threadIdx.x); i < of.count; i += kDrawThreads) {
    if (of.keeps(i)) {
      atomicAdd(&row.sums[of.tokens[i] / kPart].kept,
                static_cast<unsigned long long>(weights(of.logits[i])));
    }
  }
  __syncthreads();
  const auto of_part = [&](int part) -> uint64_t { return row.sums[part].kept; };
  total = block_total(v.parts, scratch.warp_sums, of_part);
  const Found part = find(share_of(total, s.uniform), v.parts, scratch, of_part);
  return find_in_part(part, v.vocab, scratch, [&](int i) -> uint64_t {
    const float logit = row.drawn[i];
    return weights.keeps(logit) && of.border.keeps(logit, i) ? weights(logit) : 0;
  });
}

__device__ int draw(const ReadoutView& v, const Row& row, float most, Scratch& scratch) {
  const float* y = row.drawn;
  if (!row.is_drawn()) {
    const auto has_most = [&](int part) -> uint64_t { return row.scans[part].drawn == most; };
    const Found part = find(0, v.parts, scratch, has_most);
    return find_in_part(part, v.vocab, scratch, [&](int i) -> uint64_t { return y[i] == most; });
  }
  const Weights weights(row.s, most);
  const auto of_part = [&](int part) -> uint64_t { return row.sums[part].drawn; };
  const uint64_t total = block_total(v.parts, scratch.warp_sums, of_part);
  if (row.is_cut()) return draw_cut(v, row, weights, total, scratch);
  const Found part = find(share_of(total, row.s.uniform), v.parts, scratch, of_part);
  return find_in_part(part, v.vocab, scratch,
                      [&](int i) -> uint64_t { return weights.keeps(y[i]) ? weights(y[i]) : 0; });
}

__global__ void __launch_bounds__(kDrawThreads)
    draw_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ Scratch scratch;
  const Row row(v, first, blockIdx.x, logits);
  const SequenceDraw& s = row.s;
  RowRead& to = v.reads[first + blockIdx.x];
  const PartScan most = merge(row.scans, v.parts, scratch.maxima);
  RowRead read{0, most.raw, 0, row.wanted.next_token, 0};
  if (row.wants_logprob()) {
    read.total =
        block_total(v.parts, scratch.warp_sums, [&](int part) { return row.sums[part].raw; });
  }
  if (to.valid == 0) return;
  if (!most.finite) {
    __syncthreads();  // all have seen that it was valid
    if (threadIdx.x != 0) return;
    to.valid = 0;
    const auto not_finite = static_cast<int32_t>(SequenceStatus::kNotFinite);
    v.status[row.wanted.sequence] = not_finite;
    if (row.wanted.sample) v.statuses[s.slot] = not_finite;
    return;
  }
  if (row.wanted.sample) read.token = draw(v, row, most.drawn, scratch);
  if (threadIdx.x != 0) return;
  read.logit = row.raw[read.token];
  read.valid = 1;
  to = read;
  if (!row.wanted.sample) return;
  v.tokens[s.slot] = read.token;
  if (s.flags & kPenalties) v.counts[int64_t{s.slot} * v.vocab + read.token] += 1;
}

// --- likeliest tokens

// A logit that `wanted` tokens have at least: the parts' largest are as many, where there are as
// many parts.
__device__ float reached_by(int wanted, const PartScan* scans, int parts, float* found) {
  if (wanted > parts) return -INFINITY;
  for (int i = static_cast<int>(threadIdx.x); i < parts; i += blockDim.x) {
    const float own = scans[i].raw;
    int rank = 0;
    for (int j = 0; j < parts; ++j) {
      const float other = scans[j].raw;
      rank += other > own || (other == own && j < i) ? 1 : 0;
    }
    if (rank == wanted - 1) *found = own;
  }
  __syncthreads();
  return *found;
}

__global__ void __launch_bounds__(kPartThreads)
    list_top_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ int warp_counts[kPartWarps];
  __shared__ float found;
  const Row row(v, first, blockIdx.x, logits);
  if (row.wanted.top == 0 || v.reads[first + blockIdx.x].valid == 0) return;
  const float bound = reached_by(row.wanted.top, row.scans, v.parts, &found);
  list_part(row, v.vocab, warp_counts, [&](int i) { return row.raw[i] >= bound; });
}

// The likeliest tokens of rows that want them, falling; equal ones by rising id.
__global__ void __launch_bounds__(kDrawThreads)
    top_kernel(ReadoutView v, int first, const float* logits) {
  __shared__ Scratch scratch;
  const Row row(v, first, blockIdx.x, logits);
  const int wanted = row.wanted.top;
  if (wanted == 0 || v.reads[first + blockIdx.x].valid == 0) return;
  Candidates of = take_lists(v, row, row.raw, -INFINITY, scratch);
  of.border = narrow(of, wanted, scratch, One{});
  __syncthreads();
  if (threadIdx.x == 0) scratch.gathered = 0;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < of.count; i += kDrawThreads) {
    if (!of.keeps(i)) continue;
    scratch.tops[atomicAdd(&scratch.gathered, 1)] = {of.token(i), of.logits[i]};
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
  v.tops[int64_t{first + blockIdx.x} * kMaxTopLogprobs + rank] = own;
}

}  // namespace

void read_rows(const ReadoutView& view, int first, int count, const float* logits, RowWishes wishes,
               const Stream& stream) {
  const dim3 parts(static_cast<unsigned>(count), static_cast<unsigned>(view.parts));
  launch(scan_kernel, parts, kPartThreads, 0, stream, view, first, logits);
  launch(weigh_kernel, parts, kPartThreads, 0, stream, view, first, logits);
  if (wishes.cuts) launch(list_kernel, parts, kPartThreads, 0, stream, view, first, logits);
  launch(draw_kernel, count, kDrawThreads, 0, stream, view, first, logits);
  if (!wishes.tops) return;
  launch(list_top_kernel, parts, kPartThreads, 0, stream, view, first, logits);
  launch(top_kernel, count, kDrawThreads, 0, stream, view, first, logits);
}

}  // namespace smore::cuda
