#pragma once

#include <cstddef>
#include <cstdint>

// THE contract between the scheduler (TypeScript) and the engine: one step is these flat arrays and
// nothing else. The memory belongs to TypeScript (src/engine/step-batch.ts allocates it by the same
// table, in the same order); the engine keeps the pointers for the life of the batch. Bump
// kAbiVersion whenever anything here changes.

namespace smore {

inline constexpr int kAbiVersion = 6;

// Upper bounds that size the arrays of a batch. [engine.info -> TypeScript]
struct StepLimits {
  int rows;         // T: tokens in one step (--max-batch-tokens)
  int sequences;    // B: sequences in one step (--max-batch)
  int blocks;       // KV page ids in one step, over all sequences
  int history;      // tokens of restored histories in one step
  int biases;       // logit_bias entries in one step
  int bans;         // experts kept from taking part, over all adapters of all sequences in one step
  int routes;       // (expert, score) pairs of routing that is read out in one step
  int width;        // D: of a hidden state
  int mask_words;   // of a mask: one bit per token of the vocabulary, 32 to a word
  int layer_words;  // of a set of layers: one bit per layer, 32 to a word
};

inline constexpr int kMaxTopLogprobs = 20;
inline constexpr int kMaxAdapters = 8;  // of one sequence
inline constexpr float kMaxAdapterScale = 16;
inline constexpr float kMaxRouterTemperature = 100;

// Words that hold a bit for each of `count` things.
constexpr int bit_words(int count) { return (count + 31) / 32; }
inline bool has_bit(const uint32_t* words, int bit) { return words[bit / 32] >> (bit % 32) & 1; }

// Bits of StepInput::flags.
enum SequenceFlag : uint32_t {
  kSample = 1,         // sample from the logits of the sequence's last row
  kTokenFromSlot = 2,  // the only row's token is the one last sampled into this slot (look-ahead)
  kRestoreHistory =
      4,          // first step of a sequence in this slot: forget the slot, count history anew
  kLogprobs = 8,  // fill sampled_logprob, and top_* up to top_logprobs
  kPromptLogprobs = 16,  // fill row_* for every row of this sequence but its last prompt token
  kPenalties = 32,       // presence, frequency or repetition differ from their neutral value
  kMask = 64,            // sample only tokens whose bit in the sequence's mask is set
  kPool = 128,    // fill pooled; in every step of a sequence, the first of which is at context 0
  kRoutes = 256,  // with kSample: fill route_expert and route_score for the sequence's last row
};

inline constexpr uint32_t kSequenceFlags = 2 * kRoutes - 1;  // all of them

struct StepCounts {
  int32_t rows;       // T
  int32_t sequences;  // B
};

struct StepInput {
  const StepCounts* counts;
  // per row
  const int32_t* tokens;       // T; ignored where kTokenFromSlot
  const int32_t* next_tokens;  // T; what follows this row in its prompt, -1 = not wanted
                               // (kPromptLogprobs only)
  // per sequence
  const int32_t* slot;  // B: engine-side state, 0 .. limits.sequences * 2 - 1, chosen by TypeScript
  const uint32_t* flags;         // B: SequenceFlag bits
  const int32_t* row_start;      // B + 1
  const int32_t* context;        // B: positions in the KV cache before this step
  const int32_t* block_start;    // B + 1, into blocks
  const int32_t* blocks;         // KV pages that hold positions 0 .. context + rows - 1, 16 each
  const int32_t* history_start;  // B + 1, into history (empty but with kRestoreHistory)
  const int32_t*
      history_prompt;  // B: how many tokens of the history are prompt (repetition penalty only)
  const int32_t* history;
  const int32_t* bias_start;  // B + 1, into bias_token / bias_value
  const int32_t* bias_token;
  const float* bias_value;
  const int32_t* sample_index;  // B: index of the token to be sampled, 0 = first: with seed the
                                // whole RNG state
  const uint32_t* seed;         // 2 B: low, high
  const float* temperature;     // B: 0 = greedy
  const float* top_p;           // B: 1 = off
  const float* min_p;           // B: 0 = off
  const int32_t* top_k;         // B: 0 = off
  const float* presence;        // B: 0 = off; over sampled tokens
  const float* frequency;       // B: 0 = off; over sampled tokens
  const float* repetition;      // B: 1 = off; over prompt and sampled tokens
  const int32_t* top_logprobs;  // B: 0 .. kMaxTopLogprobs
  const uint32_t* mask;  // B x mask_words: bit t % 32 of word t / 32 allows token t (kMask only)
  const int32_t* route_start;  // B + 1, into route_expert and route_score (empty but with kRoutes)
  const uint32_t*
      route_layers;  // B x layer_words: bit l % 32 of word l / 32 wants layer l (kRoutes)
  const int32_t* adapter_start;  // B + 1, into what follows; nothing = the base alone
  // per adapter of a sequence, kMaxAdapters at most: their deltas add up in this order
  const int32_t* adapter;           // handles, each once within a sequence
  const float* adapter_scale;       // what the delta is multiplied by
  const float* router_temperature;  // what the routers' logits are divided by; 1 = as trained
  const int32_t* ban_start;         // one more than adapters, into ban_level / ban_expert
  const int32_t* ban_level;         // 0 = leaves
  const int32_t* ban_expert;        // takes part in no node of the level
};

// Why a sequence has no token in this step. The others of the step are unharmed.
enum class SequenceStatus : int32_t {
  kOk = 0,
  kNotFinite = 1,      // logits were NaN or infinite
  kAdapterFailed = 2,  // an expert page could not be read
};

struct StepOutput {
  int32_t* status;   // B: SequenceStatus
  int32_t* sampled;  // B
  float*
      sampled_logprob;  // B: log softmax of the raw logits (before temperature), as OpenAI has it
  int32_t* top_tokens;  // B x kMaxTopLogprobs, falling
  float* top_logprobs;  // B x kMaxTopLogprobs
  float* row_logprob;   // T: of next_tokens[t]
  int32_t* row_top_tokens;  // T x kMaxTopLogprobs
  float* row_top_logprobs;  // T x kMaxTopLogprobs
  float* pooled;            // B x D: mean of the normed final states of its positions so far
  // Where a row went: for each of the sequence's adapters, for each linear that it adapts in the
  // wanted layers in the order of the graph, for each level from the leaves up, the chosen experts
  // node by node with the scores that weigh them (residual/work.h).
  int32_t* route_expert;
  float* route_score;
};

// Counters that engine.stats(Float64Array) fills, in this order; src/engine/native.ts has the same
// table. All are totals since load unless named otherwise.
enum StatIndex : int {
  kStatSteps,
  kStatRows,         // rows computed
  kStatSampledRows,  // rows whose logits were computed
  kStatBasePasses,   // passes over the layers of the base that were begun, by the bytes read
  kStatAdapterRows,  // rows that went through an adapter
  kStatStepSeconds,
  kStatExpertHits,    // expert pages found resident when a step used them
  kStatExpertMisses,  // pages loaded inside a step
  kStatExpertLoads,   // pages loaded (misses and prefetch)
  kStatExpertEvictions,
  kStatExpertLoadBytes,
  kStatExpertLoadSeconds,
  kStatResidentBytes,     // now: adapter memory in use
  kStatResidentPages,     // now
  kStatResidentAdapters,  // now: adapters whose routers are resident
  kStatAdapterBudgetBytes,
  kStatWeightBytes,  // packed base weights
  kStatKvBytes,      // KV pool
  // Of the tier of adapters on a device that has memory of its own, as above; else 0.
  kStatDeviceHits,  // of an adapter whose pages are all there, each page of a linear that is used
  kStatDeviceMisses,
  kStatDeviceLoads,
  kStatDeviceEvictions,
  kStatDeviceLoadBytes,
  kStatDeviceLoadSeconds,
  kStatDeviceBytes,     // now
  kStatDevicePages,     // now
  kStatDeviceAdapters,  // now
  kStatDeviceBudgetBytes,
  // Of steps on a device that takes work as graphs; else 0.
  kStatGraphLaunches,
  kStatGraphCaptures,  // graphs made
  kStatGraphUpdates,   // kernels of graphs whose arguments were changed
  kStatGraphDirect,    // lists of kernels that were launched one by one
  kStatCount,
};

}  // namespace smore
