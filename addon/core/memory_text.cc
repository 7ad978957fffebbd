#include "core/memory_text.h"

#include <cstdio>

namespace smore {

std::string memory_text(uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB"};
  double amount = static_cast<double>(bytes);
  int unit = 0;
  for (; unit < 3 && amount >= 1024; ++unit) amount /= 1024;
  const int decimals = unit > 0 && amount < 10 ? 1 : 0;
  char text[48];
  std::snprintf(text, sizeof(text), "%.*f %s", decimals, amount, kUnits[unit]);
  return text;
}

}  // namespace smore
