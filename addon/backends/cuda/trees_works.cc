#include "backends/cuda/trees_works.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace smore::cuda {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kMostScratch = size_t{256} << 20;
// Levels of trees that steps' arrays have room for from the start.
constexpr int kLevels = 4;
// Buffers grow by more than is asked for, so that they soon do no more.
constexpr size_t kLeastBuffer = size_t{64} << 10;

size_t round_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

size_t grown(size_t bytes) { return std::max(kLeastBuffer, bytes + bytes / 2); }

void lay_out_level(const LinearPlan& linear, int l, int count, Room& room, Room& starts,
                   WorkLevelSlots& to) {
  const LevelPlan& level = linear.levels[l];
  const bool sum = linear.combine == Combine::kSum;
  const int64_t n = count;
  const int64_t pairs = n * (sum ? level.experts : std::min(level.pairs, level.experts));
  to.expert_start = starts.take<int32_t>(level.experts + 1);
  to.pair_row = room.take<int32_t>(pairs);
  to.compressed = room.take<float>(pairs * level.rank);
  if (sum) return;
  const int64_t nodes = level.pairs / level.chosen;
  to.ids = room.take<int32_t>(n * level.pairs);
  to.scores = room.take<float>(n * level.pairs);
  to.pair_of = room.take<int32_t>(n * level.experts);
  to.own = room.take<float>(pairs * level.width);
  to.result = room.take<float>(n * nodes * level.width);
  if (l > 0 && linear.combine != Combine::kTreeAll) {
    to.sums = room.take<float>(n * nodes * linear.levels[l - 1].width);
  }
}

// Starts of the levels and the banned experts behind them. Returns what follows.
int32_t* write_bans(const RouterControl& control, int level_count, int32_t* start) {
  int32_t* ban = start + level_count + 1;
  for (int l = 0; l < level_count; ++l) {
    start[l] = static_cast<int32_t>(ban - start);
    if (l >= static_cast<int>(control.banned.size())) continue;
    ban = std::copy(control.banned[l].begin(), control.banned[l].end(), ban);
  }
  start[level_count] = static_cast<int32_t>(ban - start);
  return ban;
}

}  // namespace

void lay_out(const LinearPlan& linear, int count, Room& room, Room& starts, Work& work,
             WorkLevelSlots* levels) {
  work.count = count;
  if (linear.combine != Combine::kSum) {
    int64_t widest = 0;
    for (int l = 0; l < linear.level_count; ++l) {
      const LevelPlan& level = linear.levels[l];
      widest = std::max(widest, node_floats(level.router, level.experts));
    }
    work.node_width = static_cast<int>(widest);
    work.token = room.take<float>(int64_t{count} * linear.projection);
    work.from_token = room.take<float>(int64_t{count} * linear.router_rows);
    work.node = room.take<float>(int64_t{count} * kWarps * widest);
  }
  for (int l = 0; l < linear.level_count; ++l) {
    lay_out_level(linear, l, count, room, starts, levels[l]);
  }
}

void measure(int count, HostWork& work, std::vector<WorkLevelSlots>& levels) {
  levels.resize(work.linear->level_count);
  Room room;
  Room starts;
  lay_out(*work.linear, count, room, starts, work.device, levels.data());
  work.floats = static_cast<int64_t>(room.next() / sizeof(float));
  work.starts = static_cast<int64_t>(starts.next() / sizeof(int32_t));
}

size_t works_scratch(const DeviceFacts& facts) {
  return std::min(kMostScratch, facts.total_memory / 64);
}

uint64_t works_staging(int layers, const StepSizes& sizes) {
  const auto linears = static_cast<uint64_t>(layers) * kSites;
  const auto rows = static_cast<uint64_t>(sizes.rows);
  const uint64_t works = static_cast<uint64_t>(sizes.sequences) + rows / kMostRows;
  const uint64_t bytes =
      works * (sizeof(Work) + kLevels * sizeof(WorkLevelSlots)) + rows * sizeof(int32_t) + 1024;
  return linears * bytes * 3 / 2;  // buckets
}

std::byte* Upload::begin(size_t bytes) {
  next_ = (next_ + 1) % kTurns;
  Turn& turn = turns_[next_];
  turn.sent.synchronize();
  if (turn.host.bytes() < bytes) turn.host = PinnedMemory(grown(bytes));
  return turn.host.data();
}

void Upload::send(void* to, const std::byte* from, size_t bytes, const Stream& stream) {
  copy_to_device(to, from, bytes, stream);
}

void Upload::end(const Stream& stream) { turns_[next_].sent.record(stream); }

// The table, floats and starts lie one behind the other.
void WorkBatch::begin(std::span<HostWork> works, int table_places, Scratch& scratch,
                      Staging& staging) {
  int64_t floats = 0;
  int64_t starts = 0;
  for (const HostWork& work : works) {
    floats += work.floats;
    starts += work.starts;
  }
  const size_t table_bytes = table_places * sizeof(const std::byte*);
  const size_t float_bytes = floats * sizeof(float);
  std::byte* memory = scratch.take(table_bytes + float_bytes + starts * sizeof(int32_t));
  table_ = reinterpret_cast<const std::byte**>(memory);
  starts_ = memory + table_bytes + float_bytes;
  start_count_ = starts;
  describe(works, memory + table_bytes);
  write(works, staging);
}

void WorkBatch::describe(std::span<HostWork> works, std::byte* floats) {
  levels_.clear();
  first_level_.clear();
  works_.clear();
  place_.clear();
  turns_.clear();
  Room room(floats);
  Room starts(starts_);
  int ends[kStages] = {};
  size_t first = 0;  // of the turn
  for (size_t i = 0; i < works.size(); ++i) {
    HostWork& work = works[i];
    if (work.device.pages == nullptr) work.device.pages = table_ + work.table;
    first_level_.push_back(levels_.size());
    levels_.resize(levels_.size() + work.linear->level_count);
    lay_out(*work.linear, work.device.count, room, starts, work.device,
            levels_.data() + first_level_.back());
    std::copy_n(ends, kStages, work.device.first_block);
    for (int stage = 0; stage < kStages; ++stage) {
      ends[stage] +=
          static_cast<int>(blocks_of(*work.linear, work.device.count, static_cast<Stage>(stage)));
    }
    place_.push_back(works_.size());
    works_.push_back(work.device);
    if (i + 1 < works.size() && works[i + 1].group->turn == work.group->turn) continue;
    end_turn(first, ends);
    first = works_.size();
  }
  list_.count = static_cast<int>(works_.size());
  for (int stage = 0; stage < kStages; ++stage) {
    list_.blocks[stage] = static_cast<int>(bucket_of(ends[stage]));
  }
}

void WorkBatch::end_turn(size_t first, const int (&ends)[kStages]) {
  Work none;
  std::copy_n(ends, kStages, none.first_block);
  works_.resize(first + bucket_of(works_.size() - first + 1), none);
  WorkList turn;
  turn.count = static_cast<int>(works_.size() - first);
  for (int stage = 0; stage < kStages; ++stage) {
    turn.blocks[stage] =
        static_cast<int>(bucket_of(ends[stage] - works_[first].first_block[stage]));
  }
  turns_.push_back(turn);
}

// Works, their levels, rows and banned experts in one piece.
void WorkBatch::write(std::span<const HostWork> works, Staging& staging) {
  size_t rows = 0;
  size_t bans = 0;
  for (const HostWork& work : works) {
    rows += work.device.count;
    if (work.group->control == nullptr) continue;
    bans += work.linear->level_count + 1;
    for (const auto& banned : work.group->control->banned) bans += banned.size();
  }
  const size_t levels_at = round_up(works_.size() * sizeof(Work));
  const size_t rows_at = round_up(levels_at + levels_.size() * sizeof(WorkLevelSlots));
  const size_t bans_at = round_up(rows_at + rows * sizeof(int32_t));
  const Staging::Piece piece = staging.take(bans_at + bans * sizeof(int32_t));
  const auto on_device = [&](const void* written) {
    return piece.device + (static_cast<const std::byte*>(written) - piece.host);
  };
  auto* row = reinterpret_cast<int32_t*>(piece.host + rows_at);
  auto* ban = reinterpret_cast<int32_t*>(piece.host + bans_at);
  for (size_t i = 0; i < works.size(); ++i) {
    Work& work = works_[place_[i]];
    work.levels =
        reinterpret_cast<const WorkLevelSlots*>(piece.device + levels_at) + first_level_[i];
    work.rows = reinterpret_cast<const int32_t*>(on_device(row));
    row = std::copy_n(works[i].group->rows.data() + works[i].first_row, work.count, row);
    const RouterControl* control = works[i].group->control;
    if (control == nullptr) continue;
    work.bans = reinterpret_cast<const int32_t*>(on_device(ban));
    ban = write_bans(*control, works[i].linear->level_count, ban);
  }
  std::memcpy(piece.host, works_.data(), works_.size() * sizeof(Work));
  std::memcpy(piece.host + levels_at, levels_.data(), levels_.size() * sizeof(WorkLevelSlots));
  staging.send();
  list_.works = reinterpret_cast<const Work*>(piece.device);
  const Work* first = list_.works;
  for (WorkList& turn : turns_) turn.works = std::exchange(first, first + turn.count);
}

std::span<const int32_t> WorkBatch::read_starts(const Stream& stream) {
  const size_t bytes = start_count_ * sizeof(int32_t);
  if (host_starts_.bytes() < bytes) host_starts_ = PinnedMemory(grown(bytes));
  copy_to_host(host_starts_.data(), starts_, bytes, stream);
  stream.synchronize();
  return {host_starts_.as<int32_t>(), start_count_};
}

}  // namespace smore::cuda
