// Attention of a tile of queries over the pages of one KV head. A query goes through its tokens in
// spans of kSpan, aligned to positions and in their order, and keeps a running maximum (online
// softmax); within a span it sums token by token. So the order of its sums depends on its position
// alone, never on its tile. Tokens that one query of a tile does not see weigh exactly zero.

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

constexpr int kSpanPages = 4;
constexpr int kSpan = kSpanPages * kPageTokens;
constexpr int kQueryBlock = Simd::kFloatTile / 2;  // queries that share loaded keys or values
constexpr float kHidden = -3e38f;                  // no finite score is below

// Where the pages of a span lie, as the cache has them or unpacked.
struct Span {
  const void* keys[kSpanPages];    // d, kPageTokens
  const void* values[kSpanPages];  // kPageTokens, padded d
};

struct AttentionScratch {
  alignas(64) float keys[kSpanPages][kMaxHeadDim * kPageTokens];
  alignas(64) float values[kSpanPages][kPageTokens * kMaxHeadDim];
  alignas(64) float scores[kQueryTile][kSpan];
  alignas(64) float sums[kQueryTile * kMaxHeadDim];  // queries, padded d
};

struct QueryState {
  float most;    // largest score so far
  float total;   // sum of exp(score - most)
  float factor;  // of the last span, for what was summed before it
};

template <bool half>
[[gnu::always_inline]] inline F load_cached(const void* from, int64_t index) {
  if constexpr (half) return Simd::load_half(static_cast<const uint16_t*>(from) + index);
  return Simd::load(static_cast<const float*>(from) + index);
}

void unpack(const void* from, int count, float* to) {
  for (int i = 0; i < count; i += Simd::N) Simd::store(to + i, load_cached<true>(from, i));
}

void prefetch(const uint8_t* at, int bytes) {
  for (int i = 0; i < bytes; i += 64) Simd::prefetch(at + i);
}

// scores = q . k for `vectors` vectors of tokens from `token` on.
template <bool half, int queries, int vectors>
void score_tokens(const float* const* q, const Span& span, int head_dim, float (*scores)[kSpan],
                  int token) {
  F acc[queries][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) acc[i][v] = Simd::zero();
  }
  for (int d = 0; d < head_dim; ++d) {
    F key[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      const int at = token + v * Simd::N;
      key[v] = load_cached<half>(span.keys[at / kPageTokens], d * kPageTokens + at % kPageTokens);
    }
#pragma GCC unroll 4
    for (int i = 0; i < queries; ++i) {
      const F value = Simd::set(q[i][d]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) acc[i][v] = Simd::fma(value, key[v], acc[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) Simd::store(scores[i] + token + v * Simd::N, acc[i][v]);
  }
}

// Turns the scores of tokens [first, end) of a span into weights; those of the others are zero.
template <bool partly_hidden>
void weigh_span(const AttentionTile& t, int first, int end, float* scores, QueryState& state) {
  if constexpr (partly_hidden) {
    for (int i = 0; i < first; ++i) scores[i] = -__builtin_inff();
    for (int i = end; i < kSpan; ++i) scores[i] = -__builtin_inff();
  }
  F s[kSpan / Simd::N];
  F most = Simd::set(state.most);
  const F scale = Simd::set(t.query_scale);
#pragma GCC unroll 4
  for (int i = 0; i < kSpan / Simd::N; ++i) {
    const F raw = Simd::load(scores + i * Simd::N);
    s[i] = Simd::mul(raw, scale);
    if (t.softcap > 0) {
      const F cap = Simd::set(t.softcap);
      s[i] = Simd::mul(cap, tanh(Simd::div(s[i], cap)));
      if constexpr (partly_hidden) s[i] = Simd::select_less(raw, Simd::set(kHidden), raw, s[i]);
    }
    most = Simd::max(most, s[i]);
  }
  const float new_most = Simd::max_of(most);
  F total = Simd::zero();
#pragma GCC unroll 4
  for (int i = 0; i < kSpan / Simd::N; ++i) {
    F weight = exp(Simd::sub(s[i], Simd::set(new_most)));
    if constexpr (partly_hidden) {
      weight = Simd::select_less(s[i], Simd::set(kHidden), Simd::zero(), weight);
    }
    Simd::store(scores + i * Simd::N, weight);
    total = Simd::add(total, weight);
  }
  state.factor = 1;  // as exp(0) is
  if (new_most != state.most) {
    float factor[Simd::N];
    Simd::store(factor, exp(Simd::sub(Simd::set(state.most), Simd::set(new_most))));
    state.factor = factor[0];
  }
  state.total = state.total * state.factor + Simd::sum(total);
  state.most = new_most;
}

// sums = sums * factor + weights * values over tokens [first, end), for `vectors` vectors of d.
template <bool half, int queries, int vectors>
void add_values(const Span& span, const QueryState* states, int padded_dim, int d, int first,
                int end, const float (*weights)[kSpan], float* sums) {
  F acc[queries][vectors];
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i) {
    const F factor = Simd::set(states[i].factor);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      acc[i][v] = Simd::mul(Simd::load(sums + i * padded_dim + d + v * Simd::N), factor);
    }
  }
  for (int token = first; token < end; ++token) {
    const void* page = span.values[token / kPageTokens];
    F value[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      value[v] = load_cached<half>(page, token % kPageTokens * padded_dim + d + v * Simd::N);
    }
#pragma GCC unroll 4
    for (int i = 0; i < queries; ++i) {
      const F weight = Simd::set(weights[i][token]);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) acc[i][v] = Simd::fma(weight, value[v], acc[i][v]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < queries; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v)
      Simd::store(sums + i * padded_dim + d + v * Simd::N, acc[i][v]);
  }
}

// Tokens [first, end) of the span that begins at `start`, as a query sees them.
struct Seen {
  int first;
  int end;
};

Seen seen_tokens(const AttentionTile& t, int query, int start) {
  const int oldest = t.window > 0 ? t.position[query] - t.window + 1 : 0;
  const int after = t.position[query] + 1 - start;
  return {oldest > start ? oldest - start : 0, after < kSpan ? after : kSpan};
}

// Queries [begin, end), each of which sees something of the span at `start`.
template <bool half>
void attend_span(const AttentionTile& t, int begin, int end, int start, int pages, const Span& span,
                 AttentionScratch& s, QueryState* states) {
  constexpr int kVectors = 4;
  const int tokens = pages * kPageTokens;
  for_row_tiles<kQueryBlock>(begin, end, [&]<int queries>(int i) {
    int token = 0;
    for (; token + kVectors * Simd::N <= tokens; token += kVectors * Simd::N) {
      score_tokens<half, queries, kVectors>(t.q + i, span, t.head_dim, s.scores + i, token);
    }
    for (; token < tokens; token += Simd::N) {
      score_tokens<half, queries, 1>(t.q + i, span, t.head_dim, s.scores + i, token);
    }
  });
  Seen any{kSpan, 0};
  for (int i = begin; i < end; ++i) {
    const Seen seen = seen_tokens(t, i, start);
    if (seen.first > 0 || seen.end < kSpan) {
      weigh_span<true>(t, seen.first, seen.end, s.scores[i], states[i]);
    } else {
      weigh_span<false>(t, 0, kSpan, s.scores[i], states[i]);
    }
    any.first = seen.first < any.first ? seen.first : any.first;
    any.end = seen.end > any.end ? seen.end : any.end;
  }
  for_row_tiles<kQueryBlock>(begin, end, [&]<int queries>(int i) {
    const auto add = [&]<int vectors>(int d) {
      add_values<half, queries, vectors>(span, states + i, t.padded_dim, d, any.first, any.end,
                                         s.scores + i, s.sums + i * t.padded_dim);
    };
    int d = 0;
    for (; d + kVectors * Simd::N <= t.padded_dim; d += kVectors * Simd::N) {
      add.template operator()<kVectors>(d);
    }
    for (; d < t.padded_dim; d += Simd::N) add.template operator()<1>(d);
  });
}

// Finds the span's pages and unpacks those of float16 when several blocks of queries will read
// them.
void open_span(const AttentionTile& t, int first_page, int pages, bool unpacked,
               AttentionScratch& s, Span& span) {
  for (int i = 0; i < pages; ++i) {
    const int64_t offset = t.pages[first_page + i] * static_cast<int64_t>(t.page_stride);
    span.keys[i] = t.keys + offset;
    span.values[i] = t.values + offset;
    if (!unpacked) continue;
    unpack(span.keys[i], t.head_dim * kPageTokens, s.keys[i]);
    unpack(span.values[i], kPageTokens * t.padded_dim, s.values[i]);
    span.keys[i] = s.keys[i];
    span.values[i] = s.values[i];
  }
}

// Pages are nowhere near each other: ask for those of the span at `start` while the one before is
// used.
template <bool half>
void prefetch_span(const AttentionTile& t, int start, int last) {
  const int width = half ? 2 : 4;
  for (int page = start / kPageTokens; page < start / kPageTokens + kSpanPages; ++page) {
    if (page > last / kPageTokens) return;
    const int64_t offset = t.pages[page] * static_cast<int64_t>(t.page_stride);
    prefetch(t.keys + offset, t.head_dim * kPageTokens * width);
    prefetch(t.values + offset, kPageTokens * t.padded_dim * width);
  }
}

template <bool half>
void attention(const AttentionTile& t) {
  AttentionScratch scratch;
  QueryState states[kQueryTile];
  for (int i = 0; i < t.queries; ++i) {
    float* sums = scratch.sums + i * t.padded_dim;
    for (int d = 0; d < t.padded_dim; d += Simd::N) Simd::store(sums + d, Simd::zero());
    states[i] = {-__builtin_inff(), 0, 0};
  }
  const bool unpacked = half && t.queries > kQueryBlock;
  // Positions rise with the queries, so those that see a span are neighbours.
  const int last = t.position[t.queries - 1];
  const int oldest =
      t.window > 0 && t.position[0] + 1 > t.window ? t.position[0] + 1 - t.window : 0;
  Span span{};
  prefetch_span<half>(t, oldest / kSpan * kSpan, last);
  for (int start = oldest / kSpan * kSpan; start <= last; start += kSpan) {
    prefetch_span<half>(t, start + kSpan, last);
    const int first_page = start / kPageTokens;
    const int left = last / kPageTokens + 1 - first_page;
    const int pages = left < kSpanPages ? left : kSpanPages;
    open_span(t, first_page, pages, unpacked, scratch, span);
    int begin = 0;
    while (begin < t.queries && t.position[begin] < start) ++begin;
    int end = t.queries;
    while (end > begin && t.window > 0 && t.position[end - 1] - t.window + 1 >= start + kSpan)
      --end;
    if (unpacked) {
      attend_span<false>(t, begin, end, start, pages, span, scratch, states);
    } else {
      attend_span<half>(t, begin, end, start, pages, span, scratch, states);
    }
  }
  for (int i = 0; i < t.queries; ++i) {
    const F total = Simd::set(states[i].total);
    const float* sums = scratch.sums + i * t.padded_dim;
    for_vectors(
        t.head_dim,
        [&](int64_t d) { Simd::store(t.y[i] + d, Simd::div(Simd::load(sums + d), total)); },
        [&](int64_t d, int n) {
          Simd::store_part(t.y[i] + d, Simd::div(Simd::load(sums + d), total), n);
        });
  }
}

}  // namespace
}  // namespace smore
