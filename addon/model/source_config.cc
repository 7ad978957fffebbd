#include "model/source_config.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace smore {

void check_config(const ModelConfig& c, const std::string& where) {
  const auto require = [&where](bool good, const std::string& fault) {
    if (!good) throw Error(ErrorCode::kInvalidModel, where + ": " + fault);
  };
  const auto positive = [](double value) { return std::isfinite(value) && value > 0; };
  require(c.heads % c.kv_heads == 0, std::to_string(c.heads) + " attention heads cannot share " +
                                         std::to_string(c.kv_heads) + " key-value heads evenly");
  require(c.head_dim % 2 == 0,
          "rotary positions need an even head size, found " + std::to_string(c.head_dim));
  require(positive(c.norm_eps), "the norms' epsilon must be positive");
  require(positive(c.rope_theta), "the rotary base must be positive");
  require(positive(c.rope_scaling.factor), "the rotary scaling factor must be positive");
  require(positive(c.query_scale), "the scale of the queries must be positive");
  require(std::isfinite(c.attention_softcap) && c.attention_softcap >= 0 &&
              std::isfinite(c.logit_softcap) && c.logit_softcap >= 0,
          "soft caps must not be negative");
  if (c.rope_scaling.kind == RopeScalingKind::kLlama3) {
    require(positive(c.rope_scaling.low_freq_factor) &&
                c.rope_scaling.high_freq_factor > c.rope_scaling.low_freq_factor,
            "llama3 rotary scaling needs 0 < low_freq_factor < high_freq_factor");
  }
  require((c.window_pattern == WindowPattern::kNone) == (c.sliding_window == 0),
          "layers with a sliding window and the size of the window go together");
  for (const float factor : c.rope_factors) {
    require(positive(factor), "rotary frequency factors must be positive");
  }
  for (const int32_t token : c.stop_tokens) {
    require(token < c.vocab, "end-of-sequence token " + std::to_string(token) +
                                 " is outside the vocabulary of " + std::to_string(c.vocab));
  }
  require(c.bos_token < c.vocab, "begin-of-sequence token " + std::to_string(c.bos_token) +
                                     " is outside the vocabulary of " + std::to_string(c.vocab));
}

WindowPattern window_pattern(const std::vector<bool>& windowed, const std::string& where) {
  const auto matches = [&windowed](auto expected) {
    for (size_t i = 0; i < windowed.size(); ++i) {
      if (windowed[i] != expected(i)) return false;
    }
    return true;
  };
  if (matches([](size_t) { return false; })) return WindowPattern::kNone;
  if (matches([](size_t) { return true; })) return WindowPattern::kAll;
  if (matches([](size_t i) { return i % 2 == 0; })) return WindowPattern::kEvenLayers;
  throw Error(ErrorCode::kUnsupported,
              where +
                  ": sliding windows are supported on all layers or on every other one from the "
                  "first, not in another pattern");
}

}  // namespace smore
