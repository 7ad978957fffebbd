#include "backends/cuda/staging.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace smore::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kLeast = size_t{64} << 10;

}  // namespace

size_t bucket_of(size_t count) {
  if (count <= 4) return count;
  const size_t step = std::bit_floor(count - 1) / 4;
  return (count + step - 1) / step * step;
}

size_t Staging::room_for(size_t bytes) { return std::max(kLeast, std::bit_ceil(bytes)); }

void Staging::reserve(size_t bytes) {
  if (bytes > device_.bytes()) grow(bytes);
}

void Staging::begin() {
  turns_[turn_].copied.record(stream_);
  turn_ = (turn_ + 1) % kTurns;
  Turn& turn = turns_[turn_];
  turn.copied.synchronize();
  turn.outgrown.clear();
  turn.outgrown_host.clear();
  used_ = put_ = 0;
  if (turn.host.bytes() < device_.bytes()) turn.host = PinnedMemory(device_.bytes());
}

Staging::Piece Staging::take(size_t bytes) {
  const size_t room = bucket_of((bytes + kAlignment - 1) / kAlignment) * kAlignment;
  if (used_ + room > device_.bytes()) grow(used_ + room);
  const size_t at = std::exchange(used_, used_ + room);
  return {turns_[turn_].host.data() + at, device_.data() + at};
}

// What the step has taken stays where it is.
void Staging::grow(size_t bytes) {
  const size_t room = room_for(bytes);
  PinnedMemory host(room);
  DeviceMemory device(room);
  put();
  Turn& turn = turns_[turn_];
  turn.outgrown.push_back(std::exchange(device_, std::move(device)));
  turn.outgrown_host.push_back(std::exchange(turn.host, std::move(host)));
  used_ = put_ = 0;
}

void Staging::send() {
  if (stream_.listing() == nullptr) put();
}

void Staging::put() {
  const size_t from = std::exchange(put_, used_);
  if (from == used_) return;
  copy_ahead(device_.data() + from, turns_[turn_].host.data() + from, used_ - from, stream_);
}

const int32_t* Staging::upload(std::span<const int32_t> array) {
  const Piece piece = take(array.size_bytes());
  std::copy(array.begin(), array.end(), reinterpret_cast<int32_t*>(piece.host));
  send();
  return reinterpret_cast<const int32_t*>(piece.device);
}

}  // namespace smore::cuda
