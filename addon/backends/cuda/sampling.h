#pragma once

#include <cstdint>

#include "backends/cuda/runtime.h"
#include "backends/readout.h"
#include "sampling/sampler.h"

// From logits to tokens on the device: addon/sampling as kernels, with the same integers and so the
// same tokens, bit for bit. Rows stand alone. All pointers are the device's.

namespace smore::cuda {

// Blocks share a row in parts of so many tokens.
inline constexpr int kPart = 2048;

// Weights by their order of magnitude, from the likeliest token's down to the least that is one.
inline constexpr int kLevels = 256;

// Of a token in a text: the prompt has it, and how often it was sampled.
inline constexpr uint32_t kInPrompt = 1u << 31;
inline constexpr uint32_t kTimesSampled = kInPrompt - 1;

inline constexpr float kLargest = 3.4028235e38f;  // of finite numbers

constexpr bool is_ok(int32_t status) { return status == static_cast<int32_t>(SequenceStatus::kOk); }

// What a sequence's tokens are drawn by in a step.
struct SequenceDraw {
  double uniform;     // in [0, 1)
  float temperature;  // below kGreedyBelow: greedy
  float scale;        // 1 / temperature
  float min_p_margin;
  float top_p;
  float presence;
  float frequency;
  float repetition;
  int32_t top_k;
  int32_t slot;
  int32_t bias_begin;  // into the biases of the step
  int32_t bias_end;
  int32_t mask;    // which of the step's masks (kMask only)
  uint32_t flags;  // SequenceFlag bits
};

// Whether one token is drawn of several, and whether top_k or top_p leaves out some of them.
constexpr bool is_random(const SequenceDraw& s) { return s.temperature >= kGreedyBelow; }
constexpr bool is_cut(const SequenceDraw& s) {
  return is_random(s) && (s.top_k > 0 || s.top_p < 1);
}

struct Bias {
  int32_t token;
  float value;
};

struct WantedDraw {
  int32_t sequence;
  int32_t sample;      // else next_token's log probability is wanted
  int32_t next_token;  // of a prompt row
  int32_t top;         // likeliest tokens that are wanted
};

// What the host makes log probabilities of.
struct RowRead {
  uint64_t total;  // of the weights at scale 1 (softmax.h), where log probabilities are wanted
  float max;       // largest logit
  float logit;     // of the token
  int32_t token;   // sampled, or the one that follows
  int32_t valid;   // 0: the row was not finite, or its sequence had failed
};

struct TopRead {
  int32_t token;
  float logit;
};

// A sequence's tokens of before, to be counted anew.
struct HistoryRead {
  int32_t slot;
  int32_t begin;  // in the tokens that come with it
  int32_t prompt_end;
  int32_t end;
};

struct PooledRead {
  PooledRows rows;
  int32_t slot;
  int32_t positions;  // of the sequence so far
};

struct PartScan {
  float raw;    // largest logit
  float drawn;  // largest after penalties, biases and mask
  int32_t finite;
};

struct PartSums {
  uint64_t raw;             // of weights at scale 1, where log probabilities are wanted
  uint64_t drawn;           // of those that are drawn by, where min_p leaves them
  unsigned long long kept;  // of those that top_k and top_p keep too
};

// Where everything is: the same in every step. V vocabulary, P parts of it, D width, B sequences
// and T rows of a step at most, S rows of logits at a time.
struct ReadoutView {
  int vocab;
  int width;
  int parts;
  int mask_words;
  // Of all slots.
  int32_t* tokens;    // last sampled
  int32_t* statuses;  // SequenceStatus
  uint32_t* counts;   // V: kInPrompt and kTimesSampled of each token
  float* state_sums;  // D
  // Of the step, from the host.
  const SequenceDraw* sequences;  // B
  const WantedDraw* wanted;       // T
  const Bias* biases;
  const uint32_t* masks;  // mask_words each
  // Of a call.
  float* changed;              // S V: logits after penalties, biases and mask
  PartScan* scans;             // S P
  PartSums* sums;              // S P
  unsigned long long* levels;  // S kLevels: how many tokens, or what they weigh
  int32_t* listed;             // S P: how many tokens of a part are listed
  uint16_t* lists;             // S P kPart: these, from the first of the part
  // For the host.
  int32_t* status;  // B
  RowRead* reads;   // T
  TopRead* tops;    // T kMaxTopLogprobs
  float* pooled;    // B D, in the order in which they are pooled
};

// Makes slots new where the sequences say so, and gives the step its statuses.
void restore_slots(const ReadoutView& view, int sequences, const Stream& stream);

// Counts tokens of before, in slots that are new.
void count_histories(const ReadoutView& view, const HistoryRead* histories, int count,
                     const int32_t* tokens, const Stream& stream);

// Readout::fail.
void fail_sequences(const ReadoutView& view, const int32_t* sequences, int count,
                    const Stream& stream);

// What rows of a step want, some of them.
struct RowWishes {
  bool cuts;  // is_cut()
  bool tops;  // likeliest tokens
};

// Readout::read.
void read_rows(const ReadoutView& view, int first, int count, const float* logits, RowWishes wishes,
               const Stream& stream);

// Readout::pool.
void pool_states(const ReadoutView& view, const PooledRead* pooled, int count, const float* states,
                 const Stream& stream);

}  // namespace smore::cuda
