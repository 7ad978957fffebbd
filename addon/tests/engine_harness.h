#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "engine/step.h"

namespace smore {

// One sequence of a hand-made step; neutral unless set.
struct Sequence {
  std::vector<int32_t> tokens{};       // rows of this step
  std::vector<int32_t> next_tokens{};  // for kPromptLogprobs
  std::vector<int32_t> history{};
  int32_t history_prompt = 0;
  std::vector<std::pair<int32_t, float>> biases{};
  int32_t slot = 0;
  uint32_t flags = kSample;
  int32_t adapter = 0;
  int32_t context = 0;
  int32_t first_page = 0;
  int32_t sample_index = 0;
  uint64_t seed = 0;
  float temperature = 0;
  float top_p = 1;
  float min_p = 0;
  int32_t top_k = 0;
  float presence = 0;
  float frequency = 0;
  float repetition = 1;
  int32_t top_logprobs = 0;
  std::vector<uint32_t> mask{};  // of every sequence of the step, when one has kMask
};

// The arrays of a step, built from sequences.
class HandMadeStep {
 public:
  explicit HandMadeStep(const std::vector<Sequence>& sequences, int width = 0) {
    for (const Sequence& s : sequences) add(s);
    const size_t count = sequences.size();
    const size_t rows = tokens.size();
    counts = {static_cast<int32_t>(rows), static_cast<int32_t>(count)};
    status.resize(count, -1);
    sampled.resize(count, -1);
    sampled_logprob.resize(count);
    top_tokens.resize(count * kMaxTopLogprobs, -1);
    top_logprobs_out.resize(count * kMaxTopLogprobs);
    row_logprob.resize(rows);
    row_top_tokens.resize(rows * kMaxTopLogprobs, -1);
    row_top_logprobs.resize(rows * kMaxTopLogprobs);
    pooled.resize(count * width);
  }

  StepInput input() const {
    return {.counts = &counts,
            .tokens = tokens.data(),
            .next_tokens = next_tokens.data(),
            .slot = slot.data(),
            .flags = flags.data(),
            .adapter = adapter.data(),
            .row_start = row_start.data(),
            .context = context.data(),
            .block_start = block_start.data(),
            .blocks = blocks.data(),
            .history_start = history_start.data(),
            .history_prompt = history_prompt.data(),
            .history = history.data(),
            .bias_start = bias_start.data(),
            .bias_token = bias_token.data(),
            .bias_value = bias_value.data(),
            .sample_index = sample_index.data(),
            .seed = seed.data(),
            .temperature = temperature.data(),
            .top_p = top_p.data(),
            .min_p = min_p.data(),
            .top_k = top_k.data(),
            .presence = presence.data(),
            .frequency = frequency.data(),
            .repetition = repetition.data(),
            .top_logprobs = top_logprobs.data(),
            .mask = mask.data()};
  }

  StepOutput output() {
    return {.status = status.data(),
            .sampled = sampled.data(),
            .sampled_logprob = sampled_logprob.data(),
            .top_tokens = top_tokens.data(),
            .top_logprobs = top_logprobs_out.data(),
            .row_logprob = row_logprob.data(),
            .row_top_tokens = row_top_tokens.data(),
            .row_top_logprobs = row_top_logprobs.data(),
            .pooled = pooled.data()};
  }

  StepCounts counts{};
  std::vector<int32_t> tokens, next_tokens, slot, adapter, row_start{0}, context, block_start{0},
      blocks, history_start{0}, history_prompt, history, bias_start{0}, bias_token, sample_index,
      top_k, top_logprobs;
  std::vector<uint32_t> flags, seed, mask;
  std::vector<float> bias_value, temperature, top_p, min_p, presence, frequency, repetition;
  std::vector<int32_t> status, sampled, top_tokens, row_top_tokens;
  std::vector<float> sampled_logprob, top_logprobs_out, row_logprob, row_top_logprobs, pooled;

 private:
  void add(const Sequence& s) {
    tokens.insert(tokens.end(), s.tokens.begin(), s.tokens.end());
    next_tokens.insert(next_tokens.end(), s.next_tokens.begin(), s.next_tokens.end());
    next_tokens.resize(tokens.size(), -1);
    row_start.push_back(static_cast<int32_t>(tokens.size()));
    const int positions = s.context + static_cast<int>(s.tokens.size());
    for (int page = 0; page * kPageTokens < positions; ++page)
      blocks.push_back(s.first_page + page);
    block_start.push_back(static_cast<int32_t>(blocks.size()));
    history.insert(history.end(), s.history.begin(), s.history.end());
    history_start.push_back(static_cast<int32_t>(history.size()));
    history_prompt.push_back(s.history_prompt);
    for (const auto& [token, value] : s.biases) {
      bias_token.push_back(token);
      bias_value.push_back(value);
    }
    bias_start.push_back(static_cast<int32_t>(bias_token.size()));
    slot.push_back(s.slot);
    flags.push_back(s.flags | (s.context == 0 ? kRestoreHistory : 0u));
    adapter.push_back(s.adapter);
    context.push_back(s.context);
    sample_index.push_back(s.sample_index);
    seed.push_back(static_cast<uint32_t>(s.seed));
    seed.push_back(static_cast<uint32_t>(s.seed >> 32));
    temperature.push_back(s.temperature);
    top_p.push_back(s.top_p);
    min_p.push_back(s.min_p);
    top_k.push_back(s.top_k);
    presence.push_back(s.presence);
    frequency.push_back(s.frequency);
    repetition.push_back(s.repetition);
    top_logprobs.push_back(s.top_logprobs);
    mask.insert(mask.end(), s.mask.begin(), s.mask.end());
  }
};

}  // namespace smore
