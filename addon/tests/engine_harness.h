#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "engine/step.h"

namespace smore {

// One adapter of a sequence.
struct Member {
  int32_t handle = 0;
  float scale = 1;
  float temperature = 1;                            // of the routers
  std::vector<std::pair<int32_t, int32_t>> bans{};  // level, expert
};

// One sequence of a hand-made step; neutral unless set.
struct Sequence {
  std::vector<int32_t> tokens{};       // rows of this step
  std::vector<int32_t> next_tokens{};  // for kPromptLogprobs
  std::vector<int32_t> history{};
  int32_t history_prompt = 0;
  std::vector<std::pair<int32_t, float>> biases{};
  int32_t slot = 0;
  uint32_t flags = kSample;
  std::vector<Member> adapters{};   // each handle once
  std::vector<int> route_layers{};  // for kRoutes
  int32_t routes = 0;               // pairs that these take
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
    route_expert.resize(route_start.back(), -1);
    route_score.resize(route_start.back());
  }

  StepInput input() const {
    return {.counts = &counts,
            .tokens = tokens.data(),
            .next_tokens = next_tokens.data(),
            .slot = slot.data(),
            .flags = flags.data(),
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
            .mask = mask.data(),
            .route_start = route_start.data(),
            .route_layers = route_layers.data(),
            .adapter_start = adapter_start.data(),
            .adapter = adapter.data(),
            .adapter_scale = adapter_scale.data(),
            .router_temperature = router_temperature.data(),
            .ban_start = ban_start.data(),
            .ban_level = ban_level.data(),
            .ban_expert = ban_expert.data()};
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
            .pooled = pooled.data(),
            .route_expert = route_expert.data(),
            .route_score = route_score.data()};
  }

  StepCounts counts{};
  std::vector<int32_t> tokens, next_tokens, slot, row_start{0}, context, block_start{0}, blocks,
      history_start{0}, history_prompt, history, bias_start{0}, bias_token, sample_index, top_k,
      top_logprobs, route_start{0}, adapter_start{0}, adapter, ban_start{0}, ban_level, ban_expert;
  std::vector<uint32_t> flags, seed, mask, route_layers;
  std::vector<float> bias_value, adapter_scale, router_temperature, temperature, top_p, min_p,
      presence, frequency, repetition;
  std::vector<int32_t> status, sampled, top_tokens, row_top_tokens, route_expert;
  std::vector<float> sampled_logprob, top_logprobs_out, row_logprob, row_top_logprobs, pooled,
      route_score;

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
    add_adapters(s);
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

  // Models of the tests have at most 32 layers.
  void add_adapters(const Sequence& s) {
    for (const Member& member : s.adapters) {
      adapter.push_back(member.handle);
      adapter_scale.push_back(member.scale);
      router_temperature.push_back(member.temperature);
      for (const auto& [level, expert] : member.bans) {
        ban_level.push_back(level);
        ban_expert.push_back(expert);
      }
      ban_start.push_back(static_cast<int32_t>(ban_level.size()));
    }
    adapter_start.push_back(static_cast<int32_t>(adapter.size()));
    uint32_t layers = 0;
    for (int layer : s.route_layers) layers |= 1u << layer;
    route_layers.push_back(layers);
    route_start.push_back(route_start.back() + s.routes);
  }
};

}  // namespace smore
