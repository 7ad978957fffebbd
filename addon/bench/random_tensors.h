#pragma once

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"

namespace smore {

// A safetensors file in bfloat16 of any size: a block of random values over and over, which makes a
// model of 16 GB in the time that the disk takes.
class RandomTensors {
 public:
  explicit RandomTensors(float deviation) : block_(size_t{1} << 22) {
    std::mt19937 random{1};
    std::normal_distribution<float> normal(0, deviation);
    for (uint16_t& value : block_) value = float_to_bfloat16(normal(random));
  }

  void add(const std::string& name, const std::vector<int>& shape) {
    uint64_t count = 1;
    std::string dims;
    for (const int n : shape) {
      count *= n;
      dims += (dims.empty() ? "" : ",") + std::to_string(n);
    }
    header_ += (header_.empty() ? "{\"" : ",\"") + name + R"(":{"dtype":"BF16","shape":[)" + dims +
               R"(],"data_offsets":[)" + std::to_string(2 * values_) + "," +
               std::to_string(2 * (values_ + count)) + "]}";
    values_ += count;
  }

  // Throws Error(kIo) when the disk does not take it.
  void write(const std::string& path) const {
    std::ofstream file(path, std::ios::binary);
    const std::string header = header_ + "}";
    const uint64_t size = header.size();
    file.write(reinterpret_cast<const char*>(&size), sizeof size);
    file << header;
    for (uint64_t left = values_; left > 0;) {
      const uint64_t count = std::min<uint64_t>(left, block_.size());
      file.write(reinterpret_cast<const char*>(block_.data()),
                 static_cast<std::streamsize>(2 * count));
      left -= count;
    }
    if (!file.flush()) throw Error(ErrorCode::kIo, path + " cannot be written");
  }

 private:
  std::string header_;
  uint64_t values_ = 0;
  std::vector<uint16_t> block_;
};

}  // namespace smore
