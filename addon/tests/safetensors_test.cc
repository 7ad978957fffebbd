#include "io/safetensors.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "tests/refusal.h"

namespace smore {
namespace {

std::vector<uint8_t> file_of(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::vector<uint8_t> bytes(sizeof(size) + header.size() + data_bytes);
  std::memcpy(bytes.data(), &size, sizeof(size));
  std::memcpy(bytes.data() + sizeof(size), header.data(), header.size());
  return bytes;
}

std::string entry(const char* name, const char* dtype, const char* shape, const char* offsets) {
  return std::string("\"") + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape +
         R"(,"data_offsets":)" + offsets + "}";
}

void check_file_refused(const std::string& part, const std::string& header, size_t data_bytes,
                        ErrorCode code = ErrorCode::kInvalidFile) {
  const std::vector<uint8_t> bytes = file_of(header, data_bytes);
  check_refused(code, part, [&bytes] { parse_safetensors(bytes, "m.safetensors"); });
}

}  // namespace

TEST_CASE("a safetensors file gives named views and its metadata") {
  const SafetensorsFile file =
      open_safetensors(SMORE_FIXTURES "/smore/00-dense-linear-relu-all-L3.safetensors");
  CHECK(std::ranges::find(file.content.metadata, "golden",
                          &std::pair<std::string, std::string>::first) !=
        file.content.metadata.end());
  bool found = false;
  for (const TensorView& tensor : file.content.tensors) {
    CHECK(file.file->contains(tensor.data));
    if (tensor.name == "expected.topk_indices.0") CHECK(tensor.dtype == DType::kI32);
    if (tensor.name == "base.weight") {
      found = true;
      CHECK(tensor.rank == 2);
      CHECK(to_floats(tensor).size() == static_cast<size_t>(tensor.elements()));
    }
  }
  CHECK(found);
}

TEST_CASE("scalars and four dimensions are read") {
  const auto bytes = file_of("{" + entry("s", "F32", "[]", "[0,4]") + "," +
                                 entry("t", "BF16", "[1,2,3,4]", "[4,52]") + "}",
                             52);
  const SafetensorsContent content = parse_safetensors(bytes, "m");
  CHECK(content.tensors[0].rank == 0);
  CHECK(content.tensors[0].elements() == 1);
  CHECK(shape_text(content.tensors[1]) == "[1, 2, 3, 4]");
  CHECK(content.tensors[1].bytes() == 48);
}

TEST_CASE("a safetensors file that is cut anywhere is refused") {
  const auto bytes = file_of("{" + entry("t", "F32", "[2,2]", "[0,16]") + "}", 16);
  CHECK_NOTHROW(parse_safetensors(bytes, "m"));
  for (size_t size = 0; size < bytes.size(); ++size) {
    check_refused(ErrorCode::kInvalidFile, "m",
                  [&] { parse_safetensors(std::span(bytes).first(size), "m"); });
  }
}

TEST_CASE("damaged safetensors headers are refused by tensor and fault") {
  const std::string good = entry("t", "F32", "[2,2]", "[0,16]");
  check_file_refused("expected an object", "[]", 0);
  check_file_refused("is not valid JSON", "{\"t\":", 16);
  check_file_refused("\"t\" occurs twice", "{" + good + "," + good + "}", 16);
  check_file_refused("tensor t: type F8_E4M3 is not supported",
                     "{" + entry("t", "F8_E4M3", "[16]", "[0,16]") + "}", 16,
                     ErrorCode::kUnsupported);
  check_file_refused("tensor t: data_offsets: span 12 bytes, but [2, 2] of F32 takes 16",
                     "{" + entry("t", "F32", "[2,2]", "[0,12]") + "}", 12);
  check_file_refused("tensor t: data_offsets: end at byte 16", "{" + good + "}", 12);
  check_file_refused("tensor t: data_offsets: expected a begin and an end",
                     "{" + entry("t", "F32", "[2,2]", "[16,0]") + "}", 16);
  check_file_refused("tensor t: data_offsets: expected integers from 0",
                     "{" + entry("t", "F32", "[2,2]", "[-16,0]") + "}", 16);
  check_file_refused("tensor t: shape: expected integers from 1",
                     "{" + entry("t", "F32", "[2,0]", "[0,0]") + "}", 0);
  check_file_refused("tensor t: shape: has more than 4",
                     "{" + entry("t", "F32", "[1,1,1,1,1]", "[0,4]") + "}", 4);
  check_file_refused("tensor t: dtype: is missing", R"({"t":{"shape":[1],"data_offsets":[0,4]}})",
                     4);
  check_file_refused("a tensor name of 3 bytes is empty, too long or not printable",
                     "{" + entry("a\\nb", "F32", "[1]", "[0,4]") + "}", 4);
  check_file_refused("__metadata__: a: expected a string", R"({"__metadata__":{"a":1}})", 0);
}

TEST_CASE("a header that is long for nothing is refused before it takes many times its size") {
  std::string shape = "[[]";
  for (int i = 0; i < 1 << 20; ++i) shape += ",[]";
  check_file_refused("header: is not valid JSON: more than 1048576 values",
                     "{" + entry("t", "F32", (shape + "]").c_str(), "[0,4]") + "}", 4);
}

TEST_CASE("sizes that overflow are refused") {
  check_file_refused(
      "tensor t: data_offsets: span 16 bytes",
      "{" +
          entry("t", "F32", "[1099511627776,1099511627776,1099511627776,1099511627776]", "[0,16]") +
          "}",
      16);
  check_file_refused("tensor t: shape: expected integers from 1",
                     "{" + entry("t", "F32", "[9223372036854775807]", "[0,16]") + "}", 16);
  std::vector<uint8_t> bytes(64, 0xff);
  check_refused(ErrorCode::kInvalidFile, "announce a header",
                [&bytes] { parse_safetensors(bytes, "m"); });
}

TEST_CASE("tensors that overlap or leave gaps are refused") {
  check_file_refused(
      "tensor b starts at byte 4 of the data, inside the one before it",
      "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[4,12]") + "}", 12);
  check_file_refused(
      "tensor b starts at byte 12 of the data, after a gap",
      "{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[1]", "[12,16]") + "}",
      16);
  check_file_refused("4 bytes at the end belong to no tensor",
                     "{" + entry("a", "F32", "[2]", "[0,8]") + "}", 12);
}

TEST_CASE("a missing file is named with the reason") {
  check_refused(ErrorCode::kIo, "/no/such.safetensors: cannot be opened: No such file",
                [] { open_safetensors("/no/such.safetensors"); });
  check_refused(ErrorCode::kIo, "is not a regular file", [] { open_safetensors("/"); });
}

}  // namespace smore
