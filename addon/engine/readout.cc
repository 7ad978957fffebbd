#include "engine/readout.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <vector>

#include "sampling/sampler.h"
#include "sampling/softmax.h"

namespace smore {

namespace {

void set_status(const StepOutput& out, int sequence, SequenceStatus status) {
  // Several prompt rows of one sequence may find the same fault at once.
  std::atomic_ref<int32_t>(out.status[sequence])
      .store(static_cast<int32_t>(status), std::memory_order_relaxed);
}

Sampling sampling_of(const StepInput& step, int b) {
  return {.temperature = step.temperature[b],
          .top_p = step.top_p[b],
          .min_p = step.min_p[b],
          .top_k = step.top_k[b],
          .seed = uint64_t{step.seed[2 * b + 1]} << 32 | step.seed[2 * b],
          .index = static_cast<uint64_t>(step.sample_index[b])};
}

void change_logits(const StepInput& step, int b, const TokenHistory& history,
                   std::span<float> logits) {
  if (step.flags[b] & kPenalties) {
    apply_penalties({.presence = step.presence[b],
                     .frequency = step.frequency[b],
                     .repetition = step.repetition[b]},
                    history, logits);
  }
  for (int i = step.bias_start[b]; i < step.bias_start[b + 1]; ++i) {
    logits[step.bias_token[i]] += step.bias_value[i];
  }
}

// Ids of the tokens that the sequence's mask allows, rising.
void gather_allowed(const StepInput& step, int b, int vocab, std::vector<int32_t>& ids) {
  const int words = bit_words(vocab);
  const uint32_t* mask = step.mask + int64_t{b} * words;
  ids.clear();
  for (int w = 0; w < words; ++w) {
    for (uint32_t bits = mask[w]; bits != 0; bits &= bits - 1) {
      ids.push_back(w * 32 + std::countr_zero(bits));
    }
  }
}

// Samples as if the allowed tokens were the whole vocabulary: a forbidden one is no candidate and
// takes part in no sum.
int32_t sample_masked(const StepInput& step, int b, std::span<const float> logits) {
  thread_local std::vector<int32_t> ids;
  thread_local std::vector<float> allowed;
  gather_allowed(step, b, static_cast<int>(logits.size()), ids);
  allowed.clear();
  for (const int32_t id : ids) allowed.push_back(logits[id]);
  return ids[sample(sampling_of(step, b), allowed, peak(allowed).value)];
}

int32_t sample_token(const StepInput& step, int b, std::span<const float> logits, float max) {
  if (step.flags[b] & kMask) return sample_masked(step, b, logits);
  return sample(sampling_of(step, b), logits, max);
}

}  // namespace

void read_sampled_row(const StepInput& step, int b, std::span<const float> logits, Slot& slot,
                      const StepOutput& out) {
  const Peak raw = peak(logits);
  if (!raw.finite) {
    slot.status = SequenceStatus::kNotFinite;
    set_status(out, b, slot.status);
    return;
  }
  const uint32_t flags = step.flags[b];
  if ((flags & kPenalties) != 0 || step.bias_start[b + 1] > step.bias_start[b]) {
    thread_local std::vector<float> changed;
    changed.assign(logits.begin(), logits.end());
    change_logits(step, b, slot.history, changed);
    slot.token = sample_token(step, b, changed, peak(changed).value);
  } else {
    slot.token = sample_token(step, b, logits, raw.value);
  }
  out.sampled[b] = slot.token;
  if (flags & kPenalties) slot.history.add_sampled(slot.token);
  if (flags & kLogprobs) {
    const LogSoftmax logprobs(logits, raw.value);
    out.sampled_logprob[b] = logprobs.of(slot.token);
    logprobs.top(step.top_logprobs[b], out.top_tokens + b * kMaxTopLogprobs,
                 out.top_logprobs + b * kMaxTopLogprobs);
  }
}

void read_prompt_row(const StepInput& step, const WantedRow& wanted, std::span<const float> logits,
                     const StepOutput& out) {
  const Peak raw = peak(logits);
  if (!raw.finite) {
    set_status(out, wanted.sequence, SequenceStatus::kNotFinite);
    return;
  }
  const LogSoftmax logprobs(logits, raw.value);
  const int64_t row = wanted.row;
  out.row_logprob[row] = logprobs.of(step.next_tokens[row]);
  logprobs.top(step.top_logprobs[wanted.sequence], out.row_top_tokens + row * kMaxTopLogprobs,
               out.row_top_logprobs + row * kMaxTopLogprobs);
}

void pool_rows(const StepInput& step, int b, std::span<const float> states, Slot& slot,
               const StepOutput& out) {
  const size_t width = slot.state_sum.size();
  for (; !states.empty(); states = states.subspan(width)) {
    for (size_t i = 0; i < width; ++i) slot.state_sum[i] += states[i];
  }
  const int positions = step.context[b] + step.row_start[b + 1] - step.row_start[b];
  float* pooled = out.pooled + b * width;
  bool finite = true;
  for (size_t i = 0; i < width; ++i) {
    pooled[i] = slot.state_sum[i] / static_cast<float>(positions);
    finite = finite && std::isfinite(pooled[i]);
  }
  if (finite) return;
  slot.status = SequenceStatus::kNotFinite;
  set_status(out, b, slot.status);
}

}  // namespace smore
