#include "backends/cuda/readout.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "sampling/random.h"
#include "sampling/sampler.h"
#include "sampling/softmax.h"

namespace smore::cuda {
namespace {

constexpr size_t kAlignment = 256;

// Gives out pieces of a memory that is yet to be taken.
class Room {
 public:
  template <class T>
  size_t take(int64_t count) {
    const size_t at = bytes_;
    const size_t end = at + static_cast<size_t>(count) * sizeof(T);
    bytes_ = (end + kAlignment - 1) / kAlignment * kAlignment;
    return at;
  }
  size_t bytes() const { return bytes_; }

 private:
  size_t bytes_ = 0;
};

template <class T>
T* at(const auto& memory, size_t offset) {
  return reinterpret_cast<T*>(memory.data() + offset);
}

SequenceDraw draw_of(const StepInput& in, int b) {
  const Sampling sampling = sampling_of(in, b);
  return {.uniform = uniform_at(sampling.seed, sampling.index),
          .temperature = sampling.temperature,
          .scale = 1.0f / sampling.temperature,
          .min_p_margin = min_p_margin(sampling),
          .top_p = sampling.top_p,
          .presence = in.presence[b],
          .frequency = in.frequency[b],
          .repetition = in.repetition[b],
          .top_k = sampling.top_k,
          .slot = in.slot[b],
          .bias_begin = in.bias_start[b],
          .bias_end = in.bias_start[b + 1],
          .mask = 0,
          .flags = in.flags[b]};
}

// As log probabilities of the row.
void write_tops(const TopRead* tops, int count, float normaliser, int32_t* tokens,
                float* logprobs) {
  for (int i = 0; i < count; ++i) {
    tokens[i] = tops[i].token;
    logprobs[i] = tops[i].logit - normaliser;
  }
}

}  // namespace

CudaReadout::CudaReadout(const ReadoutShape& shape, const Stream& stream)
    : shape_(shape), stream_(stream) {
  const StepLimits& limits = shape.limits;
  const int64_t slots = shape.slots;
  const int64_t vocab = shape.vocab;
  const int64_t parts = (vocab + kPart - 1) / kPart;

  Room of_slots;
  const size_t tokens = of_slots.take<int32_t>(slots);
  const size_t statuses = of_slots.take<int32_t>(slots);
  const size_t counts = of_slots.take<uint32_t>(slots * vocab);
  const size_t sums = of_slots.take<float>(slots * limits.width);
  slots_ = DeviceMemory(of_slots.bytes());
  fill_bytes(slots_.data(), 0, slots_.bytes(), stream);

  Room of_parameters;
  sent_.sequences = of_parameters.take<SequenceDraw>(limits.sequences);
  sent_.wanted = of_parameters.take<WantedDraw>(limits.rows);
  sent_.bias_tokens = of_parameters.take<int32_t>(limits.biases);
  sent_.bias_values = of_parameters.take<float>(limits.biases);
  sent_.masks = of_parameters.take<uint32_t>(int64_t{limits.sequences} * limits.mask_words);
  sent_.failed = of_parameters.take<int32_t>(limits.sequences);
  sent_.pooled = of_parameters.take<PooledRead>(limits.sequences);
  parameters_ = DeviceMemory(of_parameters.bytes());

  Room of_calls;
  const size_t changed = of_calls.take<float>(shape.logit_rows * vocab);
  const size_t scans = of_calls.take<WarpScan>(shape.logit_rows * parts * kPartWarps);
  const size_t part_sums = of_calls.take<PartSums>(shape.logit_rows * parts);
  scratch_ = DeviceMemory(of_calls.bytes());

  Room of_results;
  read_.status = of_results.take<int32_t>(limits.sequences);
  read_.reads = of_results.take<RowRead>(limits.rows);
  read_.tops = of_results.take<TopRead>(int64_t{limits.rows} * kMaxTopLogprobs);
  read_.pooled = of_results.take<float>(int64_t{limits.sequences} * limits.width);
  results_ = DeviceMemory(of_results.bytes());

  for (Turn& turn : turns_) {
    turn.to_device = PinnedMemory(of_parameters.bytes());
    turn.to_host = PinnedMemory(of_results.bytes());
  }
  view_ = {.vocab = shape.vocab,
           .width = limits.width,
           .parts = static_cast<int>(parts),
           .mask_words = limits.mask_words,
           .tokens = at<int32_t>(slots_, tokens),
           .statuses = at<int32_t>(slots_, statuses),
           .counts = at<uint32_t>(slots_, counts),
           .state_sums = at<float>(slots_, sums),
           .sequences = at<SequenceDraw>(parameters_, sent_.sequences),
           .wanted = at<WantedDraw>(parameters_, sent_.wanted),
           .bias_tokens = at<int32_t>(parameters_, sent_.bias_tokens),
           .bias_values = at<float>(parameters_, sent_.bias_values),
           .masks = at<uint32_t>(parameters_, sent_.masks),
           .changed = at<float>(scratch_, changed),
           .scans = at<WarpScan>(scratch_, scans),
           .sums = at<PartSums>(scratch_, part_sums),
           .status = at<int32_t>(results_, read_.status),
           .reads = at<RowRead>(results_, read_.reads),
           .tops = at<TopRead>(results_, read_.tops),
           .pooled = at<float>(results_, read_.pooled)};
}

void CudaReadout::begin(const StepInput& in, const StepOutput& out,
                        std::span<const WantedRow> wanted) {
  Turn& own = turn();
  own.sent.synchronize();  // of a step that was given up
  own.in = in;
  own.out = out;
  own.wanted.assign(wanted.begin(), wanted.end());
  own.pooled.clear();
  own.tops = false;
  const int masks = describe(own);
  const int sequences = in.counts->sequences;
  const int biases = in.bias_start[sequences];
  send<SequenceDraw>(own, sent_.sequences, sequences);
  send<WantedDraw>(own, sent_.wanted, static_cast<int64_t>(wanted.size()));
  send<int32_t>(own, sent_.bias_tokens, biases);
  send<float>(own, sent_.bias_values, biases);
  send<uint32_t>(own, sent_.masks, int64_t{masks} * shape_.limits.mask_words);
  restore_slots(view_, sequences, stream_);
  count_histories(own);
  own.sent.record(stream_);
}

// Writes what is sent of a step; returns how many masks it has.
int CudaReadout::describe(Turn& own) {
  const StepInput& in = own.in;
  auto* draws = at<SequenceDraw>(own.to_device, sent_.sequences);
  auto* masks = at<uint32_t>(own.to_device, sent_.masks);
  const int words = shape_.limits.mask_words;
  int mask_count = 0;
  for (int b = 0; b < in.counts->sequences; ++b) {
    draws[b] = draw_of(in, b);
    if (!(in.flags[b] & kMask)) continue;
    draws[b].mask = mask_count++;
    masks = std::copy_n(in.mask + int64_t{b} * words, words, masks);
  }
  auto* wanted = at<WantedDraw>(own.to_device, sent_.wanted);
  for (const WantedRow& row : own.wanted) {
    const int b = row.sequence;
    const bool probable = !row.sample || (in.flags[b] & kLogprobs);
    const int top = probable ? in.top_logprobs[b] : 0;
    *wanted++ = {b, row.sample, row.sample ? 0 : in.next_tokens[row.row], top};
    own.tops = own.tops || top > 0;
  }
  const int biases = in.bias_start[in.counts->sequences];
  std::copy_n(in.bias_token, biases, at<int32_t>(own.to_device, sent_.bias_tokens));
  std::copy_n(in.bias_value, biases, at<float>(own.to_device, sent_.bias_values));
  return mask_count;
}

template <class T>
void CudaReadout::send(const Turn& own, size_t piece, int64_t count) {
  if (count == 0) return;
  copy_to_device(parameters_.data() + piece, own.to_device.data() + piece,
                 static_cast<size_t>(count) * sizeof(T), stream_);
}

template <class T>
void CudaReadout::fetch(const Turn& own, size_t piece, int64_t count) {
  copy_to_host(own.to_host.data() + piece, results_.data() + piece,
               static_cast<size_t>(count) * sizeof(T), stream_);
}

void CudaReadout::count_histories(Turn& own) {
  const StepInput& in = own.in;
  counted_.clear();
  int32_t tokens = 0;
  for (int b = 0; b < in.counts->sequences; ++b) {
    const int32_t length = in.history_start[b + 1] - in.history_start[b];
    if (!(in.flags[b] & kRestoreHistory) || !(in.flags[b] & kPenalties) || length == 0) continue;
    counted_.push_back({in.slot[b], in.history_start[b], in.history_start[b] + in.history_prompt[b],
                        in.history_start[b + 1]});
    tokens = in.history_start[b + 1];
  }
  if (counted_.empty()) return;
  Room room;
  const size_t pieces = room.take<HistoryRead>(static_cast<int64_t>(counted_.size()));
  const size_t texts = room.take<int32_t>(tokens);
  if (own.histories.bytes() < room.bytes()) own.histories = PinnedMemory(2 * room.bytes());
  if (histories_.bytes() < room.bytes()) histories_ = DeviceMemory(2 * room.bytes());
  std::copy(counted_.begin(), counted_.end(), at<HistoryRead>(own.histories, pieces));
  std::copy_n(in.history, tokens, at<int32_t>(own.histories, texts));
  copy_to_device(histories_.data(), own.histories.data(), room.bytes(), stream_);
  cuda::count_histories(view_, at<HistoryRead>(histories_, pieces),
                        static_cast<int>(counted_.size()), at<int32_t>(histories_, texts), stream_);
}

void CudaReadout::fail(std::span<const int32_t> sequences) {
  Turn& own = turn();
  std::copy(sequences.begin(), sequences.end(), at<int32_t>(own.to_device, sent_.failed));
  send<int32_t>(own, sent_.failed, static_cast<int64_t>(sequences.size()));
  own.sent.record(stream_);
  fail_sequences(view_, at<int32_t>(parameters_, sent_.failed), static_cast<int>(sequences.size()),
                 stream_);
}

void CudaReadout::read(int first, int count, const float* logits) {
  read_rows(view_, first, count, logits, turn().tops, stream_);
}

void CudaReadout::pool(std::span<const PooledRows> pooled, const float* states) {
  Turn& own = turn();
  auto* to = at<PooledRead>(own.to_device, sent_.pooled);
  for (const PooledRows& rows : pooled) {
    const int b = rows.sequence;
    const int positions = own.in.context[b] + own.in.row_start[b + 1] - own.in.row_start[b];
    *to++ = {rows, own.in.slot[b], positions};
    own.pooled.push_back(b);
  }
  send<PooledRead>(own, sent_.pooled, static_cast<int64_t>(pooled.size()));
  own.sent.record(stream_);
  pool_states(view_, at<PooledRead>(parameters_, sent_.pooled), static_cast<int>(pooled.size()),
              states, stream_);
}

void CudaReadout::end() {
  Turn& own = turn();
  // Statuses and rows in one copy.
  const auto rows = static_cast<int64_t>(own.wanted.size());
  fetch<std::byte>(own, read_.status,
                   static_cast<int64_t>(read_.reads - read_.status + rows * sizeof(RowRead)));
  if (own.tops) fetch<TopRead>(own, read_.tops, rows * kMaxTopLogprobs);
  if (!own.pooled.empty()) {
    fetch<float>(own, read_.pooled, static_cast<int64_t>(own.pooled.size()) * shape_.limits.width);
  }
  own.read.record(stream_);
  ++begun_;
}

bool CudaReadout::done() {
  try {
    return turns_[finished_ % kStepsAhead].read.reached();
  } catch (const Error&) {
    return true;  // finish() tells what happened
  }
}

void CudaReadout::finish() {
  const Turn& own = turns_[finished_++ % kStepsAhead];
  own.read.synchronize();
  const auto* status = at<int32_t>(own.to_host, read_.status);
  std::copy_n(status, own.in.counts->sequences, own.out.status);
  for (size_t i = 0; i < own.wanted.size(); ++i) write_row(own, i);
  const int64_t width = shape_.limits.width;
  const auto* mean = at<float>(own.to_host, read_.pooled);
  for (const int32_t b : own.pooled) {
    std::copy_n(mean, width, own.out.pooled + b * width);
    mean += width;
  }
}

void CudaReadout::write_row(const Turn& own, size_t i) {
  const WantedRow& wanted = own.wanted[i];
  const RowRead& read = at<RowRead>(own.to_host, read_.reads)[i];
  if (read.valid == 0) return;
  const TopRead* tops = at<TopRead>(own.to_host, read_.tops) + i * kMaxTopLogprobs;
  const StepOutput& out = own.out;
  const int b = wanted.sequence;
  if (wanted.sample) out.sampled[b] = read.token;
  if (wanted.sample && !(own.in.flags[b] & kLogprobs)) return;
  const float normaliser = log_normaliser(read.max, read.total);
  const int64_t row = wanted.sample ? b : wanted.row;
  (wanted.sample ? out.sampled_logprob : out.row_logprob)[row] = read.logit - normaliser;
  write_tops(tops, own.in.top_logprobs[b], normaliser,
             (wanted.sample ? out.top_tokens : out.row_top_tokens) + row * kMaxTopLogprobs,
             (wanted.sample ? out.top_logprobs : out.row_top_logprobs) + row * kMaxTopLogprobs);
}

}  // namespace smore::cuda
