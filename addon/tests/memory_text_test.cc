#include "core/memory_text.h"

#include <doctest/doctest.h>

#include "attention/kv_pages.h"
#include "tests/refusal.h"

namespace smore {

TEST_CASE("sizes are told in the largest unit of which there is one") {
  CHECK(memory_text(0) == "0 bytes");
  CHECK(memory_text(1023) == "1023 bytes");
  CHECK(memory_text(1024) == "1.0 KiB");
  CHECK(memory_text(12 << 10) == "12 KiB");
  CHECK(memory_text(96 << 20) == "96 MiB");
  CHECK(memory_text(3 << 19) == "1.5 MiB");
  CHECK(memory_text(uint64_t{3} << 39) == "1536 GiB");
}

TEST_CASE("a KV memory too small for one page says so in numbers that differ") {
  check_refused(ErrorCode::kOutOfMemory,
                "KV memory of 1.0 KiB holds 0 tokens, one sequence of 16 needs 16 KiB",
                [] { plan_kv_pages(1024, 16 << 10, 0, 128); });
}

}  // namespace smore
