#include "model/inspect.h"

#include <doctest/doctest.h>

#include "io/json.h"
#include "tests/refusal.h"
#include "tests/temp_model.h"

namespace smore {
namespace {

Json inspect(const std::string& path) { return Json::parse(inspect_json(path), path); }

std::string text(const Json& json, const char* name) { return *json.member(name)->string(); }
int64_t number(const Json& json, const char* name) { return *json.member(name)->integer(); }

}  // namespace

TEST_CASE("a model is described by its configuration, tensors and totals") {
  for (const char* path : {"/families/qwen3/model", "/gguf/qwen3.gguf"}) {
    CAPTURE(path);
    const Json json = inspect(SMORE_FIXTURES + std::string(path));
    CHECK(text(json, "kind") == "model");
    CHECK(json.member("problem")->is_null());
    CHECK(text(*json.member("config"), "family") == "qwen3");
    CHECK(number(*json.member("config"), "headDim") == 16);
    const Json::Array& tensors = *json.member("tensors")->array();
    CHECK(number(*json.member("totals"), "tensors") == static_cast<int64_t>(tensors.size()));
    CHECK(number(*json.member("totals"), "bytes") ==
          number(*json.member("totals"), "parameters") * 4);
    int64_t bytes = 0;
    for (const Json& tensor : tensors) bytes += number(tensor, "bytes");
    CHECK(number(*json.member("totals"), "bytes") == bytes);
  }
}

TEST_CASE("a model that cannot be served is described with the reason") {
  const TempFolder folder("families/qwen3/model");
  folder.edit("config.json", "\"qwen3\"", "\"qwen9\"");
  const Json json = inspect(folder.path());
  CHECK(text(json, "problem").find("\"qwen9\" is not supported") != std::string::npos);
  CHECK(json.member("config")->is_null());
  CHECK_FALSE(json.member("tensors")->array()->empty());
  CHECK(text(inspect(SMORE_FIXTURES "/gguf/formats.gguf"), "problem").find("\"formats\"") !=
        std::string::npos);
}

TEST_CASE("an adapter is described by its own configuration and tensors") {
  const Json json = inspect(SMORE_FIXTURES "/tiny-llama-smore/tied/adapters/smore-noisy");
  CHECK(text(json, "kind") == "adapter");
  CHECK(text(*json.member("config"), "gate_type") == "noisy_topk");
  CHECK(text(*json.member("metadata"), "format") == "pt");
  const Json& tensor = (*json.member("tensors")->array())[0];
  CHECK(text(tensor, "dtype") == "F32");
  CHECK(text(tensor, "name").starts_with("base_model.model.model.layers."));
}

TEST_CASE("an adapter that no base could serve is described with the reason") {
  CHECK(
      inspect(SMORE_FIXTURES "/tiny-llama-smore/tied/adapters/lora").member("problem")->is_null());
  const TempFolder lora("tiny-llama-smore/tied/adapters/lora");
  lora.edit("adapter_config.json", "\"r\": 6", "\"r\": -4");
  CHECK(text(inspect(lora.path()), "problem").find("r: expected an integer from 1") !=
        std::string::npos);
  const TempFolder smore("tiny-llama-smore/tied/adapters/smore-switch");
  smore.edit("adapter_config.json", "\"num_experts\": [\n    4,", "\"num_experts\": [\n    -1,");
  CHECK(text(inspect(smore.path()), "problem").find("num_experts") != std::string::npos);
}

TEST_CASE("a single safetensors file is described with its metadata") {
  const Json json = inspect(SMORE_FIXTURES "/smore/00-dense-linear-relu-all-L3.safetensors");
  CHECK(text(json, "kind") == "tensors");
  CHECK(json.member("metadata")->member("adapter_config") != nullptr);
}

TEST_CASE("what does not parse is refused") {
  check_refused(ErrorCode::kIo, "/no/such.gguf: cannot be opened",
                [] { inspect_json("/no/such.gguf"); });
  const TempFolder folder("tiny-llama-smore/tied/adapters/lora");
  folder.write("adapter_config.json", "{");
  check_refused(ErrorCode::kInvalidFile, "adapter_config.json: is not valid JSON",
                [&folder] { inspect_json(folder.path()); });
}

}  // namespace smore
