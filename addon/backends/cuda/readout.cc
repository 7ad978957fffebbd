#include "backends/cuda/readout.h"

#include <algorithm>
#include <utility>

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

CudaReadout::Layout::Layout(const ReadoutShape& shape) : parts((shape.vocab + kPart - 1) / kPart) {
  const StepLimits& limits = shape.limits;
  const int64_t vocab = shape.vocab;
  const int64_t rows = shape.logit_rows;

  Room of_slots;
  slots.tokens = of_slots.take<int32_t>(shape.slots);
  slots.statuses = of_slots.take<int32_t>(shape.slots);
  slots.counts = of_slots.take<uint32_t>(shape.slots * vocab);
  slots.sums = of_slots.take<float>(int64_t{shape.slots} * limits.width);
  slots.bytes = of_slots.bytes();

  Room sent;
  parameters.sequences = sent.take<SequenceDraw>(limits.sequences);
  parameters.wanted = sent.take<WantedDraw>(limits.rows);
  parameters.biases = sent.take<Bias>(limits.biases);
  parameters.masks = sent.take<uint32_t>(int64_t{limits.sequences} * limits.mask_words);
  parameters.histories = sent.take<HistoryRead>(limits.sequences);
  parameters.texts = sent.take<int32_t>(limits.history);
  parameters.failed = sent.take<int32_t>(limits.sequences);
  parameters.pooled = sent.take<PooledRead>(limits.sequences);
  parameters.bytes = sent.bytes();

  Room of_calls;
  calls.changed = of_calls.take<float>(rows * vocab);
  calls.scans = of_calls.take<PartScan>(rows * parts);
  calls.sums = of_calls.take<PartSums>(rows * parts);
  calls.levels = of_calls.take<unsigned long long>(rows * kLevels);
  calls.listed = of_calls.take<int32_t>(rows * parts);
  calls.lists = of_calls.take<uint16_t>(rows * parts * kPart);
  calls.bytes = of_calls.bytes();

  Room read;
  results.status = read.take<int32_t>(limits.sequences);
  results.reads = read.take<RowRead>(limits.rows);
  results.tops = read.take<TopRead>(int64_t{limits.rows} * kMaxTopLogprobs);
  results.pooled = read.take<float>(int64_t{limits.sequences} * limits.width);
  results.bytes = read.bytes();
}

CudaReadout::CudaReadout(const ReadoutShape& shape, int device, const Stream& stream)
    : shape_(shape),
      device_(device),
      stream_(stream),
      layout_(shape),
      slots_(layout_.slots.bytes),
      parameters_(layout_.parameters.bytes),
      calls_(layout_.calls.bytes),
      results_(layout_.results.bytes),
      view_(view()) {
  fill_bytes(slots_.data(), 0, slots_.bytes(), stream);
  for (Turn& turn : turns_) {
    turn.to_device = PinnedMemory(layout_.parameters.bytes);
    turn.to_host = PinnedMemory(layout_.results.bytes);
  }
}

// A step that nobody finished copies to and from this.
CudaReadout::~CudaReadout() { stream_.drain(); }

ReadoutView CudaReadout::view() const {
  return {.vocab = shape_.vocab,
          .width = shape_.limits.width,
          .parts = layout_.parts,
          .mask_words = shape_.limits.mask_words,
          .tokens = at<int32_t>(slots_, layout_.slots.tokens),
          .statuses = at<int32_t>(slots_, layout_.slots.statuses),
          .counts = at<uint32_t>(slots_, layout_.slots.counts),
          .state_sums = at<float>(slots_, layout_.slots.sums),
          .sequences = at<SequenceDraw>(parameters_, layout_.parameters.sequences),
          .wanted = at<WantedDraw>(parameters_, layout_.parameters.wanted),
          .biases = at<Bias>(parameters_, layout_.parameters.biases),
          .masks = at<uint32_t>(parameters_, layout_.parameters.masks),
          .changed = at<float>(calls_, layout_.calls.changed),
          .scans = at<PartScan>(calls_, layout_.calls.scans),
          .sums = at<PartSums>(calls_, layout_.calls.sums),
          .levels = at<unsigned long long>(calls_, layout_.calls.levels),
          .listed = at<int32_t>(calls_, layout_.calls.listed),
          .lists = at<uint16_t>(calls_, layout_.calls.lists),
          .status = at<int32_t>(results_, layout_.results.status),
          .reads = at<RowRead>(results_, layout_.results.reads),
          .tops = at<TopRead>(results_, layout_.results.tops),
          .pooled = at<float>(results_, layout_.results.pooled)};
}

void CudaReadout::begin(const StepInput& in, const StepOutput& out,
                        std::span<const WantedRow> wanted) {
  Turn& own = turn();
  if (own.begun) stream_.synchronize();  // a step that was given up: its copies may be under way
  own.begun = true;
  own.started = false;
  own.in = in;
  own.out = out;
  own.wanted.assign(wanted.begin(), wanted.end());
  own.pooled.clear();
  own.wishes = {};
  describe(own);
}

// Writes and sends what a step is told. The places of most rows and sequences are the same in every
// step, so that one copy takes both.
void CudaReadout::describe(Turn& own) {
  const StepInput& in = own.in;
  const auto& at_device = layout_.parameters;
  describe_sequences(own);
  const auto* draws = at<SequenceDraw>(own.to_device, at_device.sequences);
  auto* wanted = at<WantedDraw>(own.to_device, at_device.wanted);
  for (const WantedRow& row : own.wanted) {
    const int b = row.sequence;
    const bool probable = !row.sample || (in.flags[b] & kLogprobs);
    const int top = probable ? in.top_logprobs[b] : 0;
    *wanted++ = {b, row.sample, row.sample ? 0 : in.next_tokens[row.row], top};
    own.wishes.tops = own.wishes.tops || top > 0;
    own.wishes.cuts = own.wishes.cuts || (row.sample && is_cut(draws[b]));
  }
  send(own, at_device.sequences, at_device.wanted + own.wanted.size() * sizeof(WantedDraw));
  const int biases = in.bias_start[in.counts->sequences];
  for (int i = 0; i < biases; ++i) {
    at<Bias>(own.to_device, at_device.biases)[i] = {in.bias_token[i], in.bias_value[i]};
  }
  if (biases > 0) send(own, at_device.biases, at_device.biases + biases * sizeof(Bias));
}

// Their draws, masks and tokens of before.
void CudaReadout::describe_sequences(Turn& own) {
  const StepInput& in = own.in;
  const auto& at_device = layout_.parameters;
  auto* draws = at<SequenceDraw>(own.to_device, at_device.sequences);
  auto* histories = at<HistoryRead>(own.to_device, at_device.histories);
  auto* texts = at<int32_t>(own.to_device, at_device.texts);
  const size_t words = static_cast<size_t>(shape_.limits.mask_words);
  size_t masks = 0;
  int32_t tokens = 0;
  own.histories = 0;
  for (int b = 0; b < in.counts->sequences; ++b) {
    draws[b] = draw_of(in, b);
    if (in.flags[b] & kMask) {
      draws[b].mask = static_cast<int32_t>(masks);
      std::copy_n(in.mask + b * words, words,
                  at<uint32_t>(own.to_device, at_device.masks) + masks++ * words);
    }
    const int32_t length = in.history_start[b + 1] - in.history_start[b];
    if (!(in.flags[b] & kRestoreHistory) || !(in.flags[b] & kPenalties) || length == 0) continue;
    std::copy_n(in.history + in.history_start[b], length, texts + tokens);
    histories[own.histories++] = {in.slot[b], tokens, tokens + in.history_prompt[b],
                                  tokens + length};
    tokens += length;
  }
  const size_t mask_bytes = masks * words * sizeof(uint32_t);
  if (masks > 0) send(own, at_device.masks, at_device.masks + mask_bytes);
  const size_t texts_end = at_device.texts + static_cast<size_t>(tokens) * sizeof(int32_t);
  if (own.histories > 0) send(own, at_device.histories, texts_end);
}

// The first kernels of a step's readout. Behind those of the graph they are in one list with them.
void CudaReadout::start() {
  Turn& own = turn();
  if (std::exchange(own.started, true)) return;
  restore_slots(view_, own.in.counts->sequences, stream_);
  if (own.histories == 0) return;
  count_histories(view_, at<HistoryRead>(parameters_, layout_.parameters.histories), own.histories,
                  at<int32_t>(parameters_, layout_.parameters.texts), stream_);
}

void CudaReadout::send(const Turn& own, size_t begin, size_t end) {
  copy_to_device(parameters_.data() + begin, own.to_device.data() + begin, end - begin, stream_);
}

// What is sent while kernels are listed and only those to come read: it splits no list.
void CudaReadout::send_ahead(const Turn& own, size_t begin, size_t bytes) {
  copy_ahead(parameters_.data() + begin, own.to_device.data() + begin, bytes, stream_);
}

template <class T>
void CudaReadout::fetch(const Turn& own, size_t piece, int64_t count) {
  copy_to_host(own.to_host.data() + piece, results_.data() + piece,
               static_cast<size_t>(count) * sizeof(T), stream_);
}

void CudaReadout::fail(std::span<const int32_t> sequences) {
  start();
  Turn& own = turn();
  const size_t failed = layout_.parameters.failed;
  std::copy(sequences.begin(), sequences.end(), at<int32_t>(own.to_device, failed));
  send_ahead(own, failed, sequences.size_bytes());
  fail_sequences(view_, at<int32_t>(parameters_, failed), static_cast<int>(sequences.size()),
                 stream_);
}

void CudaReadout::read(int first, int count, const float* logits) {
  start();
  read_rows(view_, first, count, logits, turn().wishes, stream_);
}

void CudaReadout::pool(std::span<const PooledRows> pooled, const float* states) {
  start();
  Turn& own = turn();
  const size_t piece = layout_.parameters.pooled;
  auto* to = at<PooledRead>(own.to_device, piece);
  for (const PooledRows& rows : pooled) {
    const int b = rows.sequence;
    const int positions = own.in.context[b] + own.in.row_start[b + 1] - own.in.row_start[b];
    *to++ = {rows, own.in.slot[b], positions};
    own.pooled.push_back(b);
  }
  send_ahead(own, piece, pooled.size() * sizeof(PooledRead));
  pool_states(view_, at<PooledRead>(parameters_, piece), static_cast<int>(pooled.size()), states,
              stream_);
}

void CudaReadout::end() {
  start();
  Turn& own = turn();
  const auto& read = layout_.results;
  // Statuses and rows in one copy.
  const auto rows = static_cast<int64_t>(own.wanted.size());
  fetch<std::byte>(own, read.status,
                   static_cast<int64_t>(read.reads - read.status + rows * sizeof(RowRead)));
  if (own.wishes.tops) fetch<TopRead>(own, read.tops, rows * kMaxTopLogprobs);
  if (!own.pooled.empty()) {
    fetch<float>(own, read.pooled, static_cast<int64_t>(own.pooled.size()) * shape_.limits.width);
  }
  own.read.record(stream_);
  own.begun = false;
  ++ended_;
}

bool CudaReadout::done() {
  try {
    return turns_[finished_ % kStepsAhead].read.reached();
  } catch (const Error&) {
    return true;  // finish() tells what happened
  }
}

void CudaReadout::wait() {
  try {
    use_device(device_);
    turns_[finished_ % kStepsAhead].read.synchronize();
  } catch (const Error&) {
    return;  // likewise
  }
}

void CudaReadout::finish() {
  const Turn& own = turns_[finished_++ % kStepsAhead];
  own.read.synchronize();
  const auto* status = at<int32_t>(own.to_host, layout_.results.status);
  std::copy_n(status, own.in.counts->sequences, own.out.status);
  for (size_t i = 0; i < own.wanted.size(); ++i) write_row(own, i);
  const int64_t width = shape_.limits.width;
  const auto* mean = at<float>(own.to_host, layout_.results.pooled);
  for (const int32_t b : own.pooled) {
    std::copy_n(mean, width, own.out.pooled + b * width);
    mean += width;
  }
}

void CudaReadout::write_row(const Turn& own, size_t i) {
  const WantedRow& wanted = own.wanted[i];
  const RowRead& read = at<RowRead>(own.to_host, layout_.results.reads)[i];
  if (read.valid == 0) return;
  const TopRead* tops = at<TopRead>(own.to_host, layout_.results.tops) + i * kMaxTopLogprobs;
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
