#include "io/gguf.h"

#include <doctest/doctest.h>

#include "tests/gguf_writer.h"
#include "tests/refusal.h"

namespace smore {
namespace {

void check_file_refused(const std::string& part, const GgufBytes& file,
                        ErrorCode code = ErrorCode::kInvalidFile) {
  check_refused(code, part, [&file] { parse_gguf(file.bytes(), "m.gguf"); });
}

GgufBytes small_file() {
  GgufBytes file(2, 6);
  file.entry("a.int", kGgufUint32, 7u).entry("a.float", kGgufFloat32, 0.5f);
  file.entry("a.bool", kGgufBool, uint8_t{1});
  file.string("a.text").put(kGgufString).string("hello");
  file.string("a.list").put(kGgufArray).put(kGgufUint32).put<uint64_t>(2).put(3u).put(4u);
  file.string("a.words").put(kGgufArray).put(kGgufString).put<uint64_t>(2).string("x").string("");
  file.tensor("w", {32, 3}, kGgmlQ4_0, 0).tensor("n", {5}, kGgmlF32, 64).data(64 + 20);
  return file;
}

GgufBytes with_tensors(const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset,
                       size_t data) {
  GgufBytes file(1, 0);
  file.tensor("t", shape, type, offset).data(data);
  return file;
}

}  // namespace

TEST_CASE("a GGUF file gives typed metadata and views in rows and columns") {
  const GgufBytes file = small_file();
  const GgufContent content = parse_gguf(file.bytes(), "m.gguf");
  CHECK(std::get<int64_t>(*content.find("a.int")) == 7);
  CHECK(std::get<double>(*content.find("a.float")) == 0.5);
  CHECK(std::get<bool>(*content.find("a.bool")));
  CHECK(std::get<std::string>(*content.find("a.text")) == "hello");
  const auto& list = std::get<GgufArray>(*content.find("a.list"));
  CHECK(*gguf_integers(list) == std::vector<int64_t>{3, 4});
  CHECK_FALSE(gguf_strings(list).has_value());
  const auto& words = std::get<GgufArray>(*content.find("a.words"));
  CHECK(*gguf_strings(words) == std::vector<std::string_view>{"x", ""});
  CHECK(words.type_name() == "[string, 2 items]");
  CHECK(content.find("a.other") == nullptr);
  REQUIRE(content.tensors.size() == 2);
  CHECK(shape_text(content.tensors[0]) == "[3, 32]");
  CHECK(content.tensors[0].dtype == DType::kQ4_0);
  CHECK(content.tensors[0].bytes() == 54);
  CHECK(static_cast<const uint8_t*>(content.tensors[1].data) + 20 ==
        file.bytes().data() + file.bytes().size());
}

TEST_CASE("a GGUF file that is cut anywhere is refused") {
  const GgufBytes file = small_file();
  for (size_t size = 0; size < file.bytes().size(); ++size) {
    check_refused(ErrorCode::kInvalidFile, "m.gguf",
                  [&] { parse_gguf(file.bytes().first(size), "m.gguf"); });
  }
}

TEST_CASE("files that are not GGUF, of another version or byte order are refused") {
  GgufBytes other(0, 0);
  check_refused(ErrorCode::kInvalidFile, "does not start with \"GGUF\"",
                [&] { parse_gguf(other.bytes().subspan(1), "m.gguf"); });
  check_file_refused("GGUF version 1", GgufBytes(0, 0, 1), ErrorCode::kUnsupported);
  check_file_refused("big-endian", GgufBytes(0, 0, 0x03000000), ErrorCode::kUnsupported);
  CHECK_NOTHROW(parse_gguf(GgufBytes(0, 0, 2).bytes(), "m.gguf"));
}

TEST_CASE("damaged GGUF metadata is refused by key") {
  check_file_refused("metadata k occurs twice",
                     GgufBytes(0, 2).entry("k", kGgufUint32, 1u).entry("k", kGgufUint32, 2u));
  check_file_refused("k: unknown metadata type 99", GgufBytes(0, 1).entry("k", 99, 1u));
  check_file_refused("k: a boolean is 0 or 1, found 2",
                     GgufBytes(0, 1).entry("k", kGgufBool, uint8_t{2}));
  check_file_refused("k: 18446744073709551615 is out of range",
                     GgufBytes(0, 1).entry("k", kGgufUint64, UINT64_MAX));
  check_file_refused("a metadata key of 0 bytes is empty",
                     GgufBytes(0, 1).entry("", kGgufUint32, 1u));
  check_file_refused("a metadata key of 3 bytes is empty, too long or not printable",
                     GgufBytes(0, 1).entry("a\nb", kGgufUint32, 1u));
  check_file_refused("k: is truncated or damaged: an array", [] {
    GgufBytes file(0, 1);
    return file.string("k").put(kGgufArray).put(kGgufUint32).put(UINT64_MAX).put(0u);
  }());
  check_file_refused("k: arrays of arrays", [] {
    GgufBytes file(0, 1);
    return file.string("k").put(kGgufArray).put(kGgufArray).put<uint64_t>(1);
  }());
  check_file_refused("is truncated or damaged: an array's string", [] {
    GgufBytes file(0, 1);
    return file.string("k").put(kGgufArray).put(kGgufString).put(UINT64_MAX);
  }());
  check_file_refused("is truncated", GgufBytes(0, UINT64_MAX));
  check_file_refused("is truncated", GgufBytes(UINT64_MAX, 0));
}

TEST_CASE("impossible tensors are refused by name") {
  CHECK_NOTHROW(parse_gguf(with_tensors({8, 2}, kGgmlF32, 0, 64).bytes(), "m.gguf"));
  check_file_refused("tensor t has 0 dimensions", with_tensors({}, kGgmlF32, 0, 64));
  check_file_refused("tensor t has 5 dimensions", with_tensors({1, 1, 1, 1, 1}, kGgmlF32, 0, 64));
  check_file_refused("tensor t has an impossible dimension of 0",
                     with_tensors({8, 0}, kGgmlF32, 0, 64));
  check_file_refused("tensor t has an impossible dimension of",
                     with_tensors({1ull << 40, 1ull << 40}, kGgmlF32, 0, 64));
  check_file_refused("tensor t: ggml type 16 is not supported",
                     with_tensors({256, 1}, kGgmlIq2, 0, 512), ErrorCode::kUnsupported);
  check_file_refused("tensor t has rows of 33 values; Q4_0 needs a multiple of 32",
                     with_tensors({33, 32}, kGgmlQ4_0, 0, 1024));
  check_file_refused("tensor t needs 64 bytes at offset 32, the data section has 64",
                     with_tensors({16}, kGgmlF32, 32, 64));
  check_file_refused("tensor t needs 64 bytes", with_tensors({16}, kGgmlF32, ~uint64_t{31}, 64));
  check_file_refused("tensor t starts at 4, not a multiple of the alignment 32",
                     with_tensors({4}, kGgmlF32, 4, 64));
}

TEST_CASE("GGUF tensors that overlap or share a name are refused") {
  GgufBytes overlap(2, 0);
  overlap.tensor("a", {16}, kGgmlF32, 0).tensor("b", {16}, kGgmlF32, 32).data(128);
  check_file_refused("tensors a and b overlap", overlap);
  GgufBytes twice(2, 0);
  twice.tensor("a", {8}, kGgmlF32, 0).tensor("a", {8}, kGgmlF32, 32).data(64);
  check_file_refused("tensor a occurs twice", twice);
}

TEST_CASE("the alignment of a GGUF file is its own choice, within reason") {
  GgufBytes wide(1, 1);
  wide.entry("general.alignment", kGgufUint32, 128u).tensor("t", {4}, kGgmlF32, 0).data(16, 128);
  CHECK_NOTHROW(parse_gguf(wide.bytes(), "m.gguf"));
  for (const uint32_t bad : {0u, 3u, 4u, 48u, 1u << 30}) {
    GgufBytes file(1, 1);
    file.entry("general.alignment", kGgufUint32, bad).tensor("t", {4}, kGgmlF32, 0).data(64);
    check_file_refused("general.alignment: expected a power of two", file);
  }
}

}  // namespace smore
