#include "backends/cpu/readout.h"

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
int32_t sample_masked(const StepInput& step, int b, std::span<const float> logits,
                      WeightSum weight_sum) {
  thread_local std::vector<int32_t> ids;
  thread_local std::vector<float> allowed;
  gather_allowed(step, b, static_cast<int>(logits.size()), ids);
  allowed.clear();
  for (const int32_t id : ids) allowed.push_back(logits[id]);
  return ids[sample(sampling_of(step, b), allowed, peak(allowed).value, weight_sum)];
}

int32_t sample_token(const StepInput& step, int b, std::span<const float> logits, float max,
                     WeightSum weight_sum) {
  if (step.flags[b] & kMask) return sample_masked(step, b, logits, weight_sum);
  return sample(sampling_of(step, b), logits, max, weight_sum);
}

}  // namespace

CpuReadout::CpuReadout(const ReadoutShape& shape, WeightSum weight_sum, ThreadPool& threads)
    : shape_(shape),
      weight_sum_(weight_sum),
      threads_(threads),
      slots_(shape.slots),
      tokens_(shape.slots) {}

void CpuReadout::begin(const StepInput& in, const StepOutput& out,
                       std::span<const WantedRow> wanted) {
  in_ = in;
  out_ = out;
  wanted_ = wanted;
  for (int b = 0; b < in.counts->sequences; ++b) {
    if (in.flags[b] & kRestoreHistory) restore(b);
    out.status[b] = static_cast<int32_t>(slot(b).status);
  }
}

void CpuReadout::restore(int b) {
  Slot& own = slot(b);
  own.status = SequenceStatus::kOk;
  own.history.clear();
  own.state_sum.assign((in_.flags[b] & kPool) ? shape_.limits.width : 0, 0.0f);
  if (!(in_.flags[b] & kPenalties)) return;
  const int32_t* token = in_.history + in_.history_start[b];
  const int32_t* end = in_.history + in_.history_start[b + 1];
  for (const int32_t* prompt_end = token + in_.history_prompt[b]; token < prompt_end; ++token) {
    own.history.add_prompt(*token);
  }
  for (; token < end; ++token) own.history.add_sampled(*token);
}

void CpuReadout::fail(std::span<const int32_t> sequences) {
  for (const int32_t b : sequences) {
    if (!failed(b)) slot(b).status = SequenceStatus::kAdapterFailed;
    out_.status[b] = static_cast<int32_t>(slot(b).status);
  }
}

// Rows are independent of each other: each touches its own sequence's slot and outputs only.
void CpuReadout::read(int first, int count, const float* logits) {
  // Before they begin, as the row that samples may fail its sequence beside the others.
  valid_.clear();
  for (int i = 0; i < count; ++i) {
    if (!failed(wanted_[first + i].sequence)) valid_.push_back(i);
  }
  threads_.for_each(static_cast<int64_t>(valid_.size()), [&](int64_t at) {
    const int64_t i = valid_[at];
    const WantedRow& wanted = wanted_[first + i];
    const std::span<const float> row(logits + i * shape_.vocab, shape_.vocab);
    if (wanted.sample) {
      read_sampled(wanted.sequence, row);
    } else {
      read_prompt(wanted, row);
    }
  });
}

void CpuReadout::read_sampled(int b, std::span<const float> logits) {
  Slot& own = slot(b);
  const Peak raw = peak(logits);
  if (!raw.finite) {
    own.status = SequenceStatus::kNotFinite;
    set_status(out_, b, own.status);
    return;
  }
  const uint32_t flags = in_.flags[b];
  int32_t& token = tokens_[in_.slot[b]];
  if ((flags & kPenalties) != 0 || in_.bias_start[b + 1] > in_.bias_start[b]) {
    thread_local std::vector<float> changed;
    changed.assign(logits.begin(), logits.end());
    change_logits(in_, b, own.history, changed);
    token = sample_token(in_, b, changed, peak(changed).value, weight_sum_);
  } else {
    token = sample_token(in_, b, logits, raw.value, weight_sum_);
  }
  out_.sampled[b] = token;
  if (flags & kPenalties) own.history.add_sampled(token);
  if (flags & kLogprobs) {
    const LogSoftmax logprobs(logits, raw.value, weight_sum_);
    out_.sampled_logprob[b] = logprobs.of(token);
    logprobs.top(in_.top_logprobs[b], out_.top_tokens + b * kMaxTopLogprobs,
                 out_.top_logprobs + b * kMaxTopLogprobs);
  }
}

void CpuReadout::read_prompt(const WantedRow& wanted, std::span<const float> logits) {
  const Peak raw = peak(logits);
  if (!raw.finite) {
    set_status(out_, wanted.sequence, SequenceStatus::kNotFinite);
    return;
  }
  const LogSoftmax logprobs(logits, raw.value, weight_sum_);
  const int64_t row = wanted.row;
  out_.row_logprob[row] = logprobs.of(in_.next_tokens[row]);
  logprobs.top(in_.top_logprobs[wanted.sequence], out_.row_top_tokens + row * kMaxTopLogprobs,
               out_.row_top_logprobs + row * kMaxTopLogprobs);
}

void CpuReadout::pool(std::span<const PooledRows> pooled, const float* states) {
  for (const PooledRows& rows : pooled) pool_rows(rows, states);
}

void CpuReadout::pool_rows(const PooledRows& rows, const float* states) {
  const int b = rows.sequence;
  if (failed(b)) return;
  std::vector<float>& sum = slot(b).state_sum;
  const size_t width = sum.size();
  for (int64_t row = rows.first; row < rows.first + rows.rows; ++row) {
    for (size_t i = 0; i < width; ++i) sum[i] += states[row * width + i];
  }
  const int positions = in_.context[b] + in_.row_start[b + 1] - in_.row_start[b];
  float* pooled = out_.pooled + b * width;
  bool finite = true;
  for (size_t i = 0; i < width; ++i) {
    pooled[i] = sum[i] / static_cast<float>(positions);
    finite = finite && std::isfinite(pooled[i]);
  }
  if (finite) return;
  slot(b).status = SequenceStatus::kNotFinite;
  set_status(out_, b, slot(b).status);
}

}  // namespace smore
