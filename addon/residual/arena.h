#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace smore {

// Scratch memory of a step: takes are pointer moves, all of them end at reset(). Grows until the
// largest step fits in one block and then allocates no more.
class Arena {
 public:
  // Uninitialised, aligned to a cache line, valid until reset().
  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  void reset() {
    if (blocks_.size() > 1) {
      const size_t total = taken_;
      blocks_.clear();
      add_block(total);
    }
    used_ = 0;
    taken_ = 0;
  }

 private:
  static constexpr size_t kLine = 64;
  static constexpr size_t kSmallestBlock = size_t{1} << 16;

  struct Free {
    void operator()(std::byte* data) const { ::operator delete[](data, std::align_val_t{kLine}); }
  };
  struct Block {
    std::unique_ptr<std::byte[], Free> data;
    size_t bytes;
  };

  void add_block(size_t bytes) {
    auto* data = static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{kLine}));
    blocks_.push_back({std::unique_ptr<std::byte[], Free>(data), bytes});
    used_ = 0;
  }

  void* take_bytes(size_t bytes) {
    bytes = (bytes + kLine - 1) / kLine * kLine;
    if (blocks_.empty() || used_ + bytes > blocks_.back().bytes) {
      add_block(bytes > kSmallestBlock ? bytes : kSmallestBlock);
    }
    void* data = blocks_.back().data.get() + used_;
    used_ += bytes;
    taken_ += bytes;
    return data;
  }

  std::vector<Block> blocks_;
  size_t used_ = 0;   // of the last block
  size_t taken_ = 0;  // since reset
};

}  // namespace smore
