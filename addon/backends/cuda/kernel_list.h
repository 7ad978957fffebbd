#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace smore::cuda {

struct Extent {
  unsigned x = 1, y = 1, z = 1;
  bool operator==(const Extent&) const = default;
};

// A kernel with all that a launch of it says but its arguments.
struct KernelCall {
  const void* kernel = nullptr;
  // How a host calls it for one thread; null where only a device can.
  void (*call)(const void* kernel, void* const* arguments) = nullptr;
  Extent grid, block;
  size_t shared_bytes = 0;
  size_t arguments = 0;
  bool operator==(const KernelCall&) const = default;
};

// Launches in their order, with copies of their arguments.
class KernelList {
 public:
  bool empty() const { return calls_.empty(); }
  std::span<const KernelCall> calls() const { return calls_; }

  void clear() {
    calls_.clear();
    first_.clear();
    at_.clear();
    bytes_.clear();
  }

  template <class... Parameters>
  void add(KernelCall call, Parameters... values) {
    call.arguments = sizeof...(values);
    first_.push_back(at_.size());
    calls_.push_back(call);
    (add_argument(values), ...);
  }

  // Where the arguments of a call lie, as a launch wants it.
  std::vector<void*> arguments_of(size_t call) const {
    std::vector<void*> arguments;
    for (size_t i = first_[call]; i < first_[call] + calls_[call].arguments; ++i) {
      arguments.push_back(const_cast<std::byte*>(bytes_.data()) + at_[i]);
    }
    return arguments;
  }

  // Everything but the arguments.
  bool same_calls(const KernelList& other) const { return calls_ == other.calls_; }
  // The following of lists of the same calls.
  bool same_arguments(const KernelList& other) const { return bytes_ == other.bytes_; }
  bool same_arguments(const KernelList& other, size_t call) const {
    const auto [begin, end] = range_of(call);
    return std::equal(bytes_.begin() + begin, bytes_.begin() + end, other.bytes_.begin() + begin);
  }
  void copy_arguments(const KernelList& from, size_t call) {
    const auto [begin, end] = range_of(call);
    std::copy(from.bytes_.begin() + begin, from.bytes_.begin() + end, bytes_.begin() + begin);
  }
  uint64_t hash_of_calls() const {
    uint64_t hash = calls_.size();
    const auto mix = [&](uint64_t value) {
      hash = std::rotl((hash ^ value) * 0x9e3779b97f4a7c15u, 29);
    };
    for (const KernelCall& call : calls_) {
      mix(reinterpret_cast<uintptr_t>(call.kernel));
      for (const Extent& size : {call.grid, call.block}) {
        mix(size.x), mix(size.y), mix(size.z);
      }
      mix(call.shared_bytes);
    }
    return hash;
  }

 private:
  static constexpr size_t kAlignment = 16;  // of what `new` gives

  template <class T>
  void add_argument(T value) {
    static_assert(alignof(T) <= kAlignment);
    if constexpr (!std::is_scalar_v<T>) __builtin_clear_padding(&value);
    const size_t at = (bytes_.size() + alignof(T) - 1) / alignof(T) * alignof(T);
    at_.push_back(at);
    bytes_.resize(at + sizeof value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }

  std::pair<size_t, size_t> range_of(size_t call) const {
    const auto start = [&](size_t argument) {
      return argument < at_.size() ? at_[argument] : bytes_.size();
    };
    return {start(first_[call]), start(first_[call] + calls_[call].arguments)};
  }

  std::vector<KernelCall> calls_;
  std::vector<size_t> first_;  // argument of each call
  std::vector<size_t> at_;     // of each argument in bytes_
  std::vector<std::byte> bytes_;
};

}  // namespace smore::cuda
