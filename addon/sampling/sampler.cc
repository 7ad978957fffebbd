#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sampling/random.h"
#include "sampling/softmax.h"

namespace smore {

namespace {

// Below it the likeliest token has all of the probability, and dividing by it would overflow.
constexpr float kGreedyBelow = 1e-5f;

struct Candidate {
  float weight;  // exp((logit - max) / temperature); first a logit, see gather
  int32_t token;
};

// Likelier first, lower id among equals.
bool before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

// The tokens with a logit of at least `floor`, at most the `top_k` likeliest of them (0 = all),
// with their logits as weights. A buffer of 2 k is cut back to k whenever it is full, and the floor
// rises.
void gather(std::span<const float> logits, float floor, size_t top_k, std::vector<Candidate>& out) {
  out.clear();
  const auto cut = [&] {
    std::nth_element(out.begin(), out.begin() + (top_k - 1), out.end(), before);
    out.resize(top_k);
  };
  const int32_t vocab = static_cast<int32_t>(logits.size());
  for (int32_t id = 0; id < vocab; ++id) {
    if (logits[id] < floor) continue;
    out.push_back({logits[id], id});
    if (top_k == 0 || out.size() < 2 * top_k) continue;
    cut();
    floor = out.back().weight;  // nth_element puts the k-th likeliest last
  }
  if (top_k > 0 && out.size() > top_k) cut();
}

double total_weight(std::span<const Candidate> candidates) {
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  return total;
}

// Keeps the fewest likeliest candidates whose weights reach `mass`, in no order: halves the range
// in which the last of them lies, so that the cost follows the candidates and not their order.
void keep_nucleus(double mass, std::vector<Candidate>& candidates) {
  constexpr int64_t kSortable = 32;
  auto begin = candidates.begin();  // everything before it is kept
  auto end = candidates.end();      // nothing from it on is
  double reached = 0;
  while (end - begin > kSortable) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, before);
    const double left = total_weight({begin, middle});
    if (reached + left >= mass) {
      end = middle;
    } else {
      reached += left;
      begin = middle;
    }
  }
  std::sort(begin, end, before);
  while (begin != end && reached < mass) reached += (begin++)->weight;
  // The likeliest one stays whatever the mass.
  candidates.erase(std::max(begin, candidates.begin() + 1), candidates.end());
}

int32_t draw(double uniform, std::span<const Candidate> candidates) {
  const double target = uniform * total_weight(candidates);
  double reached = 0;
  for (const Candidate& c : candidates) {
    reached += c.weight;
    if (reached > target) return c.token;
  }
  return candidates.back().token;
}

// Without a cut nothing needs to be gathered: sums of blocks lead to the block, then its tokens.
int32_t draw_from_all(double uniform, std::span<const float> logits, float max, float scale) {
  constexpr size_t kBlock = 1024;
  thread_local std::vector<double> sums;
  sums.clear();
  double total = 0;
  for (size_t i = 0; i < logits.size(); i += kBlock) {
    sums.push_back(exp_sum(logits.subspan(i, std::min(kBlock, logits.size() - i)), max, scale));
    total += sums.back();
  }
  double left = uniform * total;
  size_t block = 0;
  while (block + 1 < sums.size() && left >= sums[block]) left -= sums[block++];
  const size_t end = std::min(logits.size(), (block + 1) * kBlock);
  for (size_t i = block * kBlock; i < end; ++i) {
    left -= exp_of_negative((logits[i] - max) * scale);
    if (left < 0) return static_cast<int32_t>(i);
  }
  return static_cast<int32_t>(end - 1);
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

int32_t sample(const Sampling& sampling, std::span<const float> logits, float max) {
  if (sampling.temperature < kGreedyBelow) return first_index_of(logits, max);

  const double uniform = uniform_at(sampling.seed, sampling.index);
  const float scale = 1.0f / sampling.temperature;
  const size_t top_k = std::min<size_t>(sampling.top_k, logits.size());
  const bool nucleus = sampling.top_p < 1;
  if (top_k == 0 && sampling.min_p == 0 && !nucleus) {
    return draw_from_all(uniform, logits, max, scale);
  }

  // Tokens lighter than (1 - top_p) / V of the whole weigh less than 1 - top_p together, so the
  // nucleus never needs them. Half of it keeps clear of rounding.
  double floor = sampling.min_p;
  double total = 0;
  const bool whole = top_k == 0 && sampling.min_p == 0;
  if (whole) {
    total = exp_sum(logits, max, scale);
    floor = 0.5 * total * (1.0 - sampling.top_p) / static_cast<double>(logits.size());
  }
  const float lowest =
      floor > 0 ? max + sampling.temperature * static_cast<float>(std::log(floor)) : -INFINITY;
  thread_local std::vector<Candidate> candidates;
  gather(logits, std::min(lowest, max), top_k, candidates);
  for (Candidate& c : candidates) c.weight = exp_of_negative((c.weight - max) * scale);
  if (!whole) total = total_weight(candidates);
  if (nucleus) keep_nucleus(sampling.top_p * total, candidates);
  return draw(uniform, candidates);
}

}  // namespace smore
