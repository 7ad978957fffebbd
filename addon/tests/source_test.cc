#include "model/source.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tests/refusal.h"
#include "tests/temp_model.h"

namespace smore {
namespace {

// A matrix as float32 with rotary rows in halves, whatever the file's order.
std::vector<float> plain_values(const MatrixSource& source, int head_dim) {
  const std::vector<float> stored = to_floats(source.tensor);
  if (source.interleaved_heads == 0) return stored;
  std::vector<float> plain(stored.size());
  const int64_t columns = source.tensor.columns();
  for (int64_t row = 0; row < source.tensor.shape[0]; ++row) {
    const int64_t head = row / head_dim;
    const int64_t inside = row % head_dim;
    const int64_t target = head * head_dim + inside / 2 + inside % 2 * (head_dim / 2);
    std::copy_n(stored.data() + row * columns, columns, plain.data() + target * columns);
  }
  return plain;
}

void check_same_matrix(const MatrixSource& got, const MatrixSource& want, int head_dim) {
  CAPTURE(got.tensor.name);
  CHECK(plain_values(got, head_dim) == plain_values(want, head_dim));
}

void check_near(const VectorSource& got, const VectorSource& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-6));
}

void check_same_layer(const LayerSource& got, const LayerSource& want, int head_dim) {
  check_near(got.attention_norm, want.attention_norm);
  check_near(got.post_attention_norm, want.post_attention_norm);
  check_near(got.ffn_norm, want.ffn_norm);
  check_near(got.post_ffn_norm, want.post_ffn_norm);
  check_near(got.q_bias, want.q_bias);
  check_near(got.k_bias, want.k_bias);
  check_near(got.v_bias, want.v_bias);
  check_near(got.q_norm, want.q_norm);
  check_near(got.k_norm, want.k_norm);
  for (MatrixSource LayerSource::*matrix :
       {&LayerSource::q, &LayerSource::k, &LayerSource::v, &LayerSource::o, &LayerSource::gate,
        &LayerSource::up, &LayerSource::down}) {
    check_same_matrix(got.*matrix, want.*matrix, head_dim);
  }
}

void check_same_config(const ModelConfig& got, const ModelConfig& want) {
  CHECK(got.layers == want.layers);
  CHECK(got.width == want.width);
  CHECK(got.ffn_width == want.ffn_width);
  CHECK(got.heads == want.heads);
  CHECK(got.kv_heads == want.kv_heads);
  CHECK(got.head_dim == want.head_dim);
  CHECK(got.vocab == want.vocab);
  CHECK(got.max_position == want.max_position);
  CHECK(got.norm_eps == doctest::Approx(want.norm_eps));
  CHECK(got.rope_theta == want.rope_theta);
  CHECK(got.activation == want.activation);
  CHECK(got.query_scale == doctest::Approx(want.query_scale));
  CHECK(got.attention_softcap == want.attention_softcap);
  CHECK(got.logit_softcap == want.logit_softcap);
  CHECK(got.embedding_scale == want.embedding_scale);
  CHECK(got.sliding_window == want.sliding_window);
  CHECK(got.window_pattern == want.window_pattern);
  CHECK(got.stop_tokens == want.stop_tokens);
  CHECK(got.bos_token == want.bos_token);
}

std::string fixture(const std::string& path) { return SMORE_FIXTURES "/" + path; }

const char* kLlama = "tiny-llama-smore/untied/model";
const char* kWeights = "model.safetensors";

void check_model_refused(const std::string& part, const TempFolder& folder,
                         ErrorCode code = ErrorCode::kInvalidModel) {
  check_refused(code, part, [&folder] { open_model(folder.path()); });
}

void check_config_refused(const char* model, const std::string& from, const std::string& to,
                          const std::string& part, ErrorCode code = ErrorCode::kInvalidModel) {
  const TempFolder folder(model);
  folder.edit("config.json", from, to);
  check_model_refused(part, folder, code);
}

}  // namespace

TEST_CASE("a GGUF file and a Hugging Face folder of one model open as the same model") {
  for (const char* name : {"llama3-rope", "mistral", "qwen2", "qwen3", "gemma2"}) {
    CAPTURE(name);
    const ModelSource hf = open_model(fixture("families/" + std::string(name) + "/model"));
    const ModelSource gguf = open_model(fixture("gguf/" + std::string(name) + ".gguf"));
    check_same_config(gguf.config, hf.config);
    check_same_matrix(gguf.embedding, hf.embedding, hf.config.head_dim);
    REQUIRE(gguf.lm_head.has_value() == hf.lm_head.has_value());
    if (hf.lm_head) check_same_matrix(*gguf.lm_head, *hf.lm_head, hf.config.head_dim);
    check_near(gguf.final_norm, hf.final_norm);
    REQUIRE(gguf.layers.size() == hf.layers.size());
    for (size_t l = 0; l < hf.layers.size(); ++l) {
      check_same_layer(gguf.layers[l], hf.layers[l], hf.config.head_dim);
    }
  }
}

TEST_CASE("each family has the features of its configuration") {
  const ModelConfig llama = open_model(fixture("families/llama3-rope/model")).config;
  CHECK(llama.family == "llama");
  CHECK(llama.rope_scaling.kind == RopeScalingKind::kLlama3);
  CHECK(llama.rope_scaling.factor == 8);
  CHECK(llama.rope_scaling.low_freq_factor == 1);
  CHECK(llama.rope_scaling.high_freq_factor == 4);
  CHECK(llama.rope_scaling.original_max_position == 32);
  CHECK(llama.query_scale == doctest::Approx(1 / std::sqrt(8.0)));
  CHECK(open_model(fixture("gguf/llama3-rope.gguf")).config.rope_factors.size() == 4);

  const ModelConfig mistral = open_model(fixture("families/mistral/model")).config;
  CHECK(mistral.family == "mistral");
  CHECK(mistral.sliding_window == 10);
  CHECK(mistral.window_pattern == WindowPattern::kAll);

  const ModelSource qwen2 = open_model(fixture("families/qwen2/model"));
  CHECK(qwen2.layers[0].q_bias.size() == 48);
  CHECK_FALSE(qwen2.lm_head.has_value());
  CHECK(qwen2.config.window_pattern == WindowPattern::kNone);

  const ModelSource qwen3 = open_model(fixture("families/qwen3/model"));
  CHECK(qwen3.layers[0].q_norm.size() == 16);
  CHECK(qwen3.layers[0].q.tensor.shape[0] == 64);
  CHECK(qwen3.config.width == 32);

  const ModelConfig gemma = open_model(fixture("tiny-gemma2-smore/model")).config;
  CHECK(gemma.activation == Activation::kGeluTanh);
  CHECK(gemma.attention_softcap == 5);
  CHECK(gemma.logit_softcap == 10);
  CHECK(gemma.query_scale == doctest::Approx(1 / std::sqrt(24.0)));
  CHECK(gemma.embedding_scale == doctest::Approx(std::sqrt(48.0)));
  CHECK(gemma.window_pattern == WindowPattern::kEvenLayers);
  CHECK(gemma.sliding_window == 8);
}

TEST_CASE("a GGUF file mixes types tensor by tensor") {
  const ModelSource mixed = open_model(fixture("gguf/llama-mixed.gguf"));
  const ModelSource exact = open_model(fixture(kLlama));
  const LayerSource& layer = mixed.layers[2];
  CHECK(mixed.embedding.tensor.dtype == DType::kQ8_0);
  CHECK(mixed.lm_head->tensor.dtype == DType::kF16);
  CHECK(layer.q.tensor.dtype == DType::kQ4_0);
  CHECK(layer.q.interleaved_heads == 4);
  CHECK(layer.k.tensor.dtype == DType::kQ4_1);
  CHECK(layer.k.interleaved_heads == 2);
  CHECK(layer.v.interleaved_heads == 0);
  CHECK(layer.down.tensor.dtype == DType::kBF16);
  const std::vector<float> got = plain_values(layer.q, 16);
  const std::vector<float> want = plain_values(exact.layers[2].q, 16);
  double error = 0, power = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    power += want[i] * want[i];
  }
  CHECK(error < 0.02 * power);
}

TEST_CASE("released tensors can be read again") {
  const ModelSource model = open_model(fixture("gguf/qwen2.gguf"));
  const std::vector<float> before = to_floats(model.embedding.tensor);
  model.release(model.embedding.tensor);
  CHECK(to_floats(model.embedding.tensor) == before);
}

TEST_CASE("newer spellings of the rotary parameters are read") {
  const TempFolder folder("families/llama3-rope/model");
  folder.edit("config.json", "\"rope_scaling\": {",
              "\"rope_parameters\": {\"rope_theta\": 500000.0,");
  folder.edit("config.json", "\"rope_theta\": 500000.0,\n  \"tie", "\"tie");
  const ModelConfig config = open_model(folder.path()).config;
  CHECK(config.rope_theta == 500000);
  CHECK(config.rope_scaling.kind == RopeScalingKind::kLlama3);

  folder.edit("config.json", "\"tie_word", "\"rope_theta\": 1e4, \"tie_word");
  check_model_refused("rope_parameters: rope_theta: contradicts", folder);
}

TEST_CASE("linear rotary scaling is read under both names of its type") {
  for (const char* type : {"rope_type", "type"}) {
    const TempFolder folder(kLlama);
    folder.edit("config.json", "\"rope_scaling\": null",
                "\"rope_scaling\": {\"" + std::string(type) + "\": \"linear\", \"factor\": 2}");
    const ModelConfig config = open_model(folder.path()).config;
    CHECK(config.rope_scaling.kind == RopeScalingKind::kLinear);
    CHECK(config.rope_scaling.factor == 2);
  }
}

TEST_CASE("every token that ends a turn is a stop token") {
  const TempFolder folder(kLlama);
  folder.edit("generation_config.json", "\"eos_token_id\": 2", "\"eos_token_id\": [7, 2, 9]");
  CHECK(open_model(folder.path()).config.stop_tokens == std::vector<int32_t>{2, 7, 9});
  std::filesystem::remove(folder.file("generation_config.json"));
  CHECK(open_model(folder.path()).config.stop_tokens == std::vector<int32_t>{2});
  folder.edit("config.json", "\"eos_token_id\": 2", "\"eos_token_id\": [3, 4]");
  CHECK(open_model(folder.path()).config.stop_tokens == std::vector<int32_t>{3, 4});
}

TEST_CASE("Qwen's sliding window holds only where it is switched on") {
  const TempFolder folder("families/qwen2/model");
  folder.edit("config.json", "\"sliding_window\": null", "\"sliding_window\": 5");
  CHECK(open_model(folder.path()).config.sliding_window == 0);
  folder.edit("config.json", "\"full_attention\",", "\"sliding_attention\",");
  CHECK(open_model(folder.path()).config.window_pattern == WindowPattern::kEvenLayers);
  folder.edit("config.json", "\"full_attention\"", "\"sliding_attention\"");
  CHECK(open_model(folder.path()).config.window_pattern == WindowPattern::kAll);
  folder.edit("config.json", "\"layer_types\"", "\"was_layer_types\"");
  folder.edit("config.json", "\"use_sliding_window\": false", "\"use_sliding_window\": true");
  folder.edit("config.json", "\"max_window_layers\": 28", "\"max_window_layers\": 0");
  CHECK(open_model(folder.path()).config.window_pattern == WindowPattern::kAll);
  folder.edit("config.json", "\"max_window_layers\": 0", "\"max_window_layers\": 1");
  check_model_refused("not in another pattern", folder, ErrorCode::kUnsupported);
}

TEST_CASE("a sharded folder opens like a single file, and a wrong index is refused") {
  const TempFolder folder(kLlama);
  const ModelSource whole = open_model(fixture(kLlama));
  {
    const SafetensorsFile file = open_safetensors(folder.file(kWeights));
    const auto& all = file.content.tensors;
    const auto middle = all.begin() + static_cast<int64_t>(all.size() / 2);
    Json::Object map;
    for (auto at = all.begin(); at != all.end(); ++at) {
      map.emplace_back(at->name, Json(at < middle ? "a.safetensors" : "b.safetensors"));
    }
    write_safetensors(folder.file("a.safetensors"), {all.begin(), middle});
    write_safetensors(folder.file("b.safetensors"), {middle, all.end()});
    folder.write("model.safetensors.index.json",
                 Json(Json::Object{{"weight_map", Json(map)}}).dump());
  }
  std::filesystem::remove(folder.file(kWeights));
  const ModelSource sharded = open_model(folder.path());
  CHECK(sharded.files.size() == 2);
  check_same_layer(sharded.layers[2], whole.layers[2], 16);

  folder.edit("model.safetensors.index.json", "a.safetensors", "b.safetensors");
  check_model_refused("is not in b.safetensors", folder);
  folder.edit("model.safetensors.index.json", "b.safetensors", "../b.safetensors");
  check_model_refused("expected the name of a file in the same folder", folder);
  folder.edit("model.safetensors.index.json", "../b.safetensors", "c.safetensors");
  check_model_refused("c.safetensors: cannot be opened", folder, ErrorCode::kIo);
}

TEST_CASE("architectures and features that are not served are named") {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& part) {
    check_config_refused(kLlama, from, to, part, ErrorCode::kUnsupported);
  };
  refused("\"model_type\": \"llama\"", "\"model_type\": \"mixtral\"",
          "model_type \"mixtral\" is not supported; llama, mistral, qwen2, qwen3, gemma2 are");
  refused("LlamaForCausalLM", "LlamaForSequenceClassification",
          "LlamaForSequenceClassification is not supported for llama");
  refused("\"silu\"", "\"gelu\"", "hidden_act: gelu is not supported for llama; silu is");
  refused("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias");
  refused("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\"}",
          "rotary scaling \"yarn\" is not supported");
  refused("\"use_cache\"", "\"quantization_config\": {\"quant_method\": \"gptq\"}, \"use_cache\"",
          "weights quantised by gptq are not supported");
}

TEST_CASE("a configuration that contradicts itself or its tensors is refused by field") {
  const auto refused = [](const std::string& from, const std::string& to, const std::string& part) {
    check_config_refused(kLlama, from, to, part);
  };
  refused("\"hidden_size\": 64", "\"hidden_size\": \"64\"", "hidden_size: expected an integer");
  refused("\"hidden_size\": 64", "\"was\": 64", "hidden_size: is missing");
  refused("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 1000000000",
          "num_hidden_layers: expected an integer from 1 to 4096");
  refused("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4",
          "tensor model.layers.3.input_layernorm.weight is missing");
  refused("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2",
          "nothing in this architecture reads");
  refused("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3",
          "4 attention heads cannot share 3 key-value heads");
  refused("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4",
          "tensor model.layers.0.self_attn.k_proj.weight: has shape [32, 64]; the configuration "
          "asks for [64, 64]");
  refused("\"head_dim\": 16", "\"head_dim\": 15", "even head size");
  refused("\"vocab_size\": 320", "\"vocab_size\": 321",
          "model.embed_tokens.weight: has shape [320, 64]; the configuration asks for [321, 64]");
  refused("\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 0", "epsilon must be positive");
  refused("\"rope_theta\": 500000.0", "\"rope_theta\": -1", "rotary base must be positive");
  refused("\"eos_token_id\": 2", "\"eos_token_id\": 320", "end-of-sequence token 320");
  refused("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true",
          "tensor lm_head.weight differs from model.embed_tokens.weight");
  check_config_refused("tiny-llama-smore/tied/model", "\"tie_word_embeddings\": true",
                       "\"tie_word_embeddings\": false", "tensor lm_head.weight is missing");
  check_config_refused("tiny-gemma2-smore/model", "\"sliding_window\": 8", "\"was\": 8", "sliding",
                       ErrorCode::kInvalidModel);
  check_config_refused(kLlama, "{", "{,", "is not valid JSON", ErrorCode::kInvalidFile);
}

TEST_CASE("tensors that are missing, misshapen, of another kind or unknown are refused by name") {
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  const auto refused = [&](const std::string& part, auto change) {
    const TempFolder folder(kLlama);
    folder.edit_tensors(kWeights, [&](std::vector<TensorView>& tensors) {
      for (TensorView& tensor : tensors) {
        if (tensor.name == up) return change(tensors, tensor);
      }
    });
    check_model_refused(part, folder);
  };
  refused("tensor " + up + " is missing", [](auto& tensors, TensorView& tensor) {
    tensors.erase(tensors.begin() + (&tensor - tensors.data()));
  });
  refused("tensor " + up + ": has shape [64, 128]; the configuration asks for [128, 64]",
          [](auto&, TensorView& tensor) { std::swap(tensor.shape[0], tensor.shape[1]); });
  refused("tensor " + up + ": has shape [8192]", [](auto&, TensorView& tensor) {
    tensor.rank = 1;
    tensor.shape = {8192, 1, 1, 1};
  });
  refused("tensor " + up + ": holds integers",
          [](auto&, TensorView& tensor) { tensor.dtype = DType::kI32; });
  refused("tensor model.layers.1.mlp.router.weight: nothing in this architecture reads it",
          [](auto& tensors, TensorView& tensor) {
            TensorView extra = tensor;
            extra.name = "model.layers.1.mlp.router.weight";
            tensors.push_back(extra);
          });
}

TEST_CASE("leftovers of known writers are no fault") {
  const TempFolder folder("tiny-llama-smore/tied/model");
  folder.edit_tensors(kWeights, [](std::vector<TensorView>& tensors) {
    TensorView frequencies = tensors[0];
    frequencies.name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    frequencies.rank = 1;
    frequencies.shape = {8, 1, 1, 1};
    TensorView head = *std::ranges::find(tensors, "model.embed_tokens.weight", &TensorView::name);
    head.name = "lm_head.weight";
    tensors.push_back(frequencies);
    tensors.push_back(head);
  });
  CHECK_FALSE(open_model(folder.path()).lm_head.has_value());
}

TEST_CASE("weights that are not finite are refused by tensor and place") {
  const TempFolder folder(kLlama);
  folder.poke(kWeights, "model.layers.2.mlp.down_proj.weight", (5 * 128 + 17) * 4, NAN);
  check_model_refused(
      "model.layers.2.mlp.down_proj.weight: holds a value that is not finite at row 5, column 17",
      folder);
  folder.poke(kWeights, "model.layers.1.input_layernorm.weight", 12, INFINITY);
  check_model_refused("model.layers.1.input_layernorm.weight: is not finite at index 3", folder);
}

TEST_CASE("what is no model says what is missing") {
  const TempFolder folder(kLlama);
  std::filesystem::remove(folder.file(kWeights));
  check_model_refused("holds neither model.safetensors nor model.safetensors.index.json", folder);
  std::filesystem::remove(folder.file("config.json"));
  check_model_refused("config.json: cannot be opened", folder, ErrorCode::kIo);
  check_refused(ErrorCode::kIo, "/no/such.gguf: cannot be opened",
                [] { open_model("/no/such.gguf"); });
}

}  // namespace smore
