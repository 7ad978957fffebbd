#include <doctest/doctest.h>

#include <bit>
#include <cmath>

#include "model/source_config.h"
#include "tests/gguf_writer.h"
#include "tests/refusal.h"

namespace smore {
namespace {

struct Entry {
  std::string key;
  uint32_t type;
  uint32_t bits = 0;
  std::string text = {};
};

Entry integer(const std::string& key, uint32_t value) { return {key, kGgufUint32, value}; }
Entry real(const std::string& key, float value) {
  return {key, kGgufFloat32, std::bit_cast<uint32_t>(value)};
}
Entry text(const std::string& key, const std::string& value) {
  return {key, kGgufString, 0, value};
}

std::vector<Entry> llama_entries(const std::string& arch = "llama") {
  return {text("general.architecture", arch),
          integer(arch + ".block_count", 2),
          integer(arch + ".embedding_length", 64),
          integer(arch + ".feed_forward_length", 128),
          integer(arch + ".attention.head_count", 4),
          integer(arch + ".context_length", 256),
          real(arch + ".attention.layer_norm_rms_epsilon", 1e-5f),
          integer("tokenizer.ggml.eos_token_id", 2)};
}

// The configuration of a file with these entries (a later one replaces an earlier one of the same
// key), an embedding of 5 tokens and these token texts.
ModelConfig config_of(std::vector<Entry> entries, const std::vector<Entry>& changes = {},
                      const std::vector<std::string>& tokens = {}) {
  for (const Entry& change : changes) {
    std::erase_if(entries, [&](const Entry& entry) { return entry.key == change.key; });
    if (change.type != kGgufArray) entries.push_back(change);
  }
  GgufBytes file(1, entries.size() + (tokens.empty() ? 0 : 1));
  for (const Entry& entry : entries) {
    file.string(entry.key).put(entry.type);
    entry.type == kGgufString ? file.string(entry.text) : file.put(entry.bits);
  }
  if (!tokens.empty()) {
    file.string("tokenizer.ggml.tokens").put(kGgufArray).put(kGgufString);
    file.put<uint64_t>(tokens.size());
    for (const std::string& token : tokens) file.string(token);
  }
  file.tensor("token_embd.weight", {64, 5}, kGgmlF32, 0).data(64 * 5 * 4);
  return read_gguf_config(parse_gguf(file.bytes(), "m.gguf"), "m.gguf").config;
}

Entry without(const std::string& key) { return {key, kGgufArray}; }

}  // namespace

TEST_CASE("GGUF metadata that is left out has the format's defaults") {
  const ModelConfig config = config_of(llama_entries());
  CHECK(config.kv_heads == 4);
  CHECK(config.head_dim == 16);
  CHECK(config.vocab == 5);
  CHECK(config.rope_theta == 10000);
  CHECK(config.bos_token == -1);
  CHECK(config.window_pattern == WindowPattern::kNone);
}

TEST_CASE("Gemma-2's scales come from the file or the family") {
  const auto entries = llama_entries("gemma2");
  ModelConfig config = config_of(entries);
  CHECK(config.attention_softcap == 50);
  CHECK(config.logit_softcap == 30);
  CHECK(config.sliding_window == 4096);
  CHECK(config.window_pattern == WindowPattern::kEvenLayers);
  CHECK(config.embedding_scale == 8);
  CHECK(config.query_scale == 0.25f);
  config = config_of(
      entries, {integer("gemma2.block_count", 46), integer("gemma2.attention.key_length", 64)});
  CHECK(config.query_scale == 0.25f);
  config = config_of(entries, {real("gemma2.attention.scale", 0.5f)});
  CHECK(config.query_scale == 0.5f);
}

TEST_CASE("the end of a turn is a stop token even when the file does not name it") {
  const std::vector<std::string> tokens = {"a", "<eos>", "b", "<end_of_turn>", "c"};
  CHECK(config_of(llama_entries(), {}, tokens).stop_tokens == std::vector<int32_t>{2, 3});
  CHECK(
      config_of(llama_entries(), {integer("tokenizer.ggml.eot_token_id", 4)}, tokens).stop_tokens ==
      std::vector<int32_t>{2, 4});
}

TEST_CASE("GGUF metadata that cannot be is refused by key") {
  const auto refused = [](const std::string& part, const Entry& change,
                          ErrorCode code = ErrorCode::kInvalidModel) {
    check_refused(code, part, [&] { config_of(llama_entries(), {change}); });
  };
  refused("architecture \"mamba\" is not supported; llama, qwen2, qwen3, gemma2 are",
          text("general.architecture", "mamba"), ErrorCode::kUnsupported);
  refused("general.architecture: is missing", without("general.architecture"));
  refused("general.type adapter", text("general.type", "adapter"), ErrorCode::kUnsupported);
  refused("split.count", integer("split.count", 3), ErrorCode::kUnsupported);
  refused("llama.block_count: is missing", without("llama.block_count"));
  refused("llama.block_count: expected an integer from 1 to 4096",
          integer("llama.block_count", 1u << 31));
  refused("llama.embedding_length: expected an integer", text("llama.embedding_length", "64"));
  refused("llama.attention.layer_norm_rms_epsilon: expected a number",
          text("llama.attention.layer_norm_rms_epsilon", "x"));
  refused("key_length", integer("llama.attention.head_count", 5));
  refused("llama.attention.value_length: must equal", integer("llama.attention.value_length", 8));
  refused("partly rotated", integer("llama.rope.dimension_count", 8), ErrorCode::kUnsupported);
  refused("rope.scaling.type \"yarn\"", text("llama.rope.scaling.type", "yarn"),
          ErrorCode::kUnsupported);
  refused("llama.rope.scaling.factor: is missing", text("llama.rope.scaling.type", "linear"));
  refused("llama.vocab_size: contradicts the 5 rows", integer("llama.vocab_size", 6));
  refused("end-of-sequence token 5 is outside", integer("tokenizer.ggml.eos_token_id", 5));
  refused("epsilon must be positive", real("llama.attention.layer_norm_rms_epsilon", NAN));
  check_refused(ErrorCode::kInvalidModel, "tokenizer.ggml.tokens has 2 tokens", [] {
    config_of(llama_entries(), {}, {"a", "b"});
  });
}

}  // namespace smore
