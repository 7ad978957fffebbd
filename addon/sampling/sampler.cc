#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sampling/random.h"

namespace smore {

namespace {

struct Candidate {
  float logit;
  int32_t token;
  uint64_t weight;
};

// Likelier first, lower id among equals.
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
}

bool by_token(const Candidate& a, const Candidate& b) { return a.token < b.token; }

// Whether there is a logit of at least `floor`: what most blocks of tokens lack.
bool reaches(std::span<const float> logits, float floor) {
  int32_t found = 0;
  for (const float logit : logits) found |= logit >= floor ? 1 : 0;
  return found != 0;
}

// The tokens with a logit of at least `floor`, at most the `top_k` likeliest of them (0 = all). A
// buffer of 2 k is cut back to k whenever it is full, and the floor rises.
void gather(std::span<const float> logits, float floor, size_t top_k, std::vector<Candidate>& out) {
  constexpr size_t kBlock = 64;
  out.clear();
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + (top_k - 1), out.end(), before);
    out.resize(top_k);
  };
  const auto add = [&](size_t id) {
    out.push_back({logits[id], static_cast<int32_t>(id), 0});
    if (top_k == 0 || out.size() < 2 * top_k) return;
    cut();
    floor = out.back().logit;  // nth_element puts the k-th likeliest last
  };
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const size_t end = std::min(logits.size(), begin + kBlock);
    if (!reaches(logits.subspan(begin, end - begin), floor)) continue;
    for (size_t id = begin; id < end; ++id) {
      if (logits[id] >= floor) add(id);
    }
  }
  if (top_k > 0 && out.size() > top_k) cut();
}

uint64_t total_weight(std::span<const Candidate> candidates) {
  uint64_t total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  return total;
}

// How many candidates, first ones of this order, it takes until their weights reach `mass`, which
// is more than 0 and at most that of all; these come to the front. Halves the range in which the
// last of them lies, so that the cost follows the candidates and not their order, which is lost.
template <class Order>
size_t reach(uint64_t mass, std::span<Candidate> candidates, Order order) {
  constexpr int64_t kSortable = 32;
  auto begin = candidates.begin();  // everything before it is taken
  auto end = candidates.end();      // nothing from it on is
  uint64_t reached = 0;
  while (end - begin > kSortable) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, order);
    const uint64_t left = total_weight({begin, middle});
    if (reached + left >= mass) {
      end = middle;
    } else {
      reached += left;
      begin = middle;
    }
  }
  std::sort(begin, end, order);
  while (reached < mass) reached += (begin++)->weight;
  return static_cast<size_t>(begin - candidates.begin());
}

// A logit below which no token is in the nucleus: those lighter than (1 - top_p) / V of the whole
// weigh less than 1 - top_p together. Less than half of it keeps clear of rounding.
float least_of_nucleus(const Sampling& sampling, uint64_t total, size_t vocab, float max) {
  const double floor = 0.4 * static_cast<double>(total) / kOne * (1.0 - sampling.top_p);
  const float margin =
      sampling.temperature * static_cast<float>(std::log(floor / static_cast<double>(vocab)));
  return max + margin - 0x1p-22f * (std::abs(max) + std::abs(margin));
}

int32_t draw(double uniform, std::span<Candidate> candidates) {
  const uint64_t target = share_of(total_weight(candidates), uniform);
  return candidates[reach(target + 1, candidates, by_token) - 1].token;
}

// Without a cut nothing needs to be gathered: sums of blocks lead to the block, then its tokens.
int32_t draw_from_all(double uniform, std::span<const float> logits, float max, float scale,
                      WeightSum weight_sum) {
  constexpr size_t kBlock = 1024;
  thread_local std::vector<uint64_t> sums;
  sums.clear();
  uint64_t total = 0;
  for (size_t i = 0; i < logits.size(); i += kBlock) {
    const size_t count = std::min(kBlock, logits.size() - i);
    sums.push_back(weight_sum(&logits[i], static_cast<int64_t>(count), max, scale));
    total += sums.back();
  }
  uint64_t left = share_of(total, uniform);
  size_t block = 0;
  while (left >= sums[block]) left -= sums[block++];
  for (size_t i = block * kBlock;; ++i) {
    const uint64_t own = weight(logits[i], max, scale);
    if (left < own) return static_cast<int32_t>(i);
    left -= own;
  }
}

}  // namespace

void apply_penalties(const Penalties& penalties, const TokenHistory& history,
                     std::span<float> logits) {
  for (const TokenHistory::Entry& entry : history.entries()) {
    float& logit = logits[entry.token];
    logit = logit > 0 ? logit / penalties.repetition : logit * penalties.repetition;
    if (entry.sampled > 0) {
      logit -= penalties.presence + penalties.frequency * static_cast<float>(entry.sampled);
    }
  }
}

Sampling sampling_of(const StepInput& step, int b) {
  return {.temperature = step.temperature[b],
          .top_p = step.top_p[b],
          .min_p = step.min_p[b],
          .top_k = step.top_k[b],
          .seed = uint64_t{step.seed[2 * b + 1]} << 32 | step.seed[2 * b],
          .index = static_cast<uint64_t>(step.sample_index[b])};
}

float min_p_margin(const Sampling& sampling) {
  if (sampling.min_p == 0) return -INFINITY;
  if (sampling.min_p == 1) return 0;  // also where the temperature is infinite
  return sampling.temperature * static_cast<float>(std::log(double{sampling.min_p}));
}

int32_t sample(const Sampling& sampling, std::span<const float> logits, float max,
               WeightSum weight_sum) {
  if (is_greedy(sampling)) return first_index_of(logits, max);

  const double uniform = uniform_at(sampling.seed, sampling.index);
  const float scale = 1.0f / sampling.temperature;
  const size_t top_k = std::min<size_t>(sampling.top_k, logits.size());
  const bool nucleus = sampling.top_p < 1;
  if (top_k == 0 && sampling.min_p == 0 && !nucleus) {
    return draw_from_all(uniform, logits, max, scale, weight_sum);
  }

  float lowest = max + min_p_margin(sampling);
  uint64_t total = 0;
  const bool whole = top_k == 0 && sampling.min_p == 0;
  if (whole) {
    total = weight_sum(logits.data(), static_cast<int64_t>(logits.size()), max, scale);
    lowest = least_of_nucleus(sampling, total, logits.size(), max);
  }
  thread_local std::vector<Candidate> candidates;
  gather(logits, std::min(lowest, max), top_k, candidates);
  for (Candidate& c : candidates) c.weight = weight(c.logit, max, scale);
  if (!whole) total = total_weight(candidates);
  if (nucleus) {
    candidates.resize(reach(nucleus_mass(sampling.top_p, total), candidates, before));
  }
  return draw(uniform, candidates);
}

}  // namespace smore
