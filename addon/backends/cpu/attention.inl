// Attention of a tile of queries over the pages of one KV head. A query goes through its tokens in
// spans of kSpan, aligned to positions and in their order, and keeps a running maximum (online
// softmax); within a span it sums token by token. So the order of its sums depends on its position
// alone, never on its tile. Tokens that one query of a tile does not see weigh exactly zero.
//
// A form says how numbers lie in pages and are multiplied: `kTogether` columns of a key, or tokens
// of a value, in one product.

#include <array>
#include <type_traits>

#include "backends/cpu/kernels.h"
#include "backends/cpu/vector_math.inl"

namespace smore {
namespace {

constexpr int kSpanPages = 4;
constexpr int kSpan = kSpanPages * kPageTokens;
constexpr int kQueryBlock = Simd::kQueryBlock;  // queries that share loaded keys or values
constexpr int kQueryRest = kQueryBlock < 4 ? kQueryBlock : 4;
constexpr int kQueryGroup = 24;    // queries whose scores stay near
constexpr int kVectors = 4;        // of tokens or columns at a time
constexpr float kHidden = -3e38f;  // no finite score is below

// Runs block.operator()<n>(query) over [begin, end): full blocks, and the rest in few.
template <class Block>
[[gnu::always_inline]] inline void for_query_blocks(int begin, int end, Block&& block) {
  int query = begin;
  for (; query + kQueryBlock <= end; query += kQueryBlock) {
    block.template operator()<kQueryBlock>(query);
  }
  for_row_tiles<kQueryRest>(query, end, block);
}

// Numbers multiplied as float32, stored as that or as float16.
template <bool half>
struct FloatForm {
  static constexpr DType kStored = half ? DType::kF16 : DType::kF32;
  static constexpr int kTogether = 1;
  static constexpr int kBytes = half ? 2 : 4;
  static constexpr int kMostUnpacked = half ? kQueryBlock : kQueryTile;
  using Unpacked = FloatForm<false>;
  using Value = F;

  [[gnu::always_inline]] static F load(const void* from, int64_t index) {
    if constexpr (half) return Simd::load_half(static_cast<const uint16_t*>(from) + index);
    return Simd::load(static_cast<const float*>(from) + index);
  }
  [[gnu::always_inline]] static F set(const void* row, int index) {
    return Simd::set(static_cast<const float*>(row)[index]);
  }
  [[gnu::always_inline]] static F add(F value, F times, F sum) {
    return Simd::fma(value, times, sum);
  }
  static void unpack(const void* from, int count, float* to) {
    for (int i = 0; i < count; i += Simd::N) Simd::store(to + i, load(from, i));
  }
  static const void* query(const float* q, int, void*) { return q; }

  // exp(scale * (score - most)); of a hidden score 0.
  static F weigh(F score, F most, float scale) {
    const F weight = exp(Simd::mul(Simd::sub(score, most), Simd::set(scale)));
    return Simd::select_less(score, Simd::set(kHidden), Simd::zero(), weight);
  }
  // Turns the scores of a span into weights, in place, and adds them to the lanes of `total`.
  static void weigh_span(float* scores, F most, float scale, F& total) {
    for (int i = 0; i < kSpan; i += Simd::N) {
      const F weight = weigh(Simd::load(scores + i), most, scale);
      Simd::store(scores + i, weight);
      total = Simd::add(total, weight);
    }
  }

  static void store(const float* key, const float* value, int head_dim, int padded_dim, int slot,
                    uint8_t* keys, uint8_t* values) {
    using Number = std::conditional_t<half, uint16_t, float>;
    Number numbers[kMaxHeadDim];
    pack(key, head_dim, head_dim, numbers);
    auto* lanes = reinterpret_cast<Number*>(keys) + slot;
    for (int d = 0; d < head_dim; ++d) lanes[d * kPageTokens] = numbers[d];
    pack(value, head_dim, padded_dim, numbers);
    __builtin_memcpy(values + slot * padded_dim * sizeof(Number), numbers,
                     padded_dim * sizeof(Number));
  }

 private:
  template <class Number>
  static void pack(const float* from, int count, int padded, Number* to) {
    alignas(64) float floats[kMaxHeadDim];
    __builtin_memcpy(floats, from, count * sizeof(float));
    for (int i = count; i < kMaxHeadDim && i < padded + Simd::N; ++i) floats[i] = 0;
    for (int i = 0; i < padded; i += Simd::N) {
      if constexpr (half) Simd::store_half(to + i, Simd::load(floats + i));
      if constexpr (!half) Simd::store(to + i, Simd::load(floats + i));
    }
  }
};

// Where the pages of a span lie, as the cache has them or unpacked.
struct Span {
  const void* keys[kSpanPages];
  const void* values[kSpanPages];
};

// What the queries of a tile have summed so far.
struct QueryStates {
  const void* q[kQueryTile];         // as the form multiplies them
  float most[kQueryTile + kSpan];    // largest score; read a vector at a time
  float factor[kQueryTile + kSpan];  // of the last span, for what was summed before it
  F total[kQueryTile];               // lanes of the sum of weights
  alignas(64) float sums[kQueryTile * kMaxHeadDim];  // queries, padded d
};

struct AttentionScratch {
  alignas(64) float keys[kSpanPages][kMaxHeadDim * kPageTokens];
  alignas(64) float values[kSpanPages][kPageTokens * kMaxHeadDim];
  alignas(64) float scores[kQueryGroup][kSpan];
  alignas(64) float queries[kQueryTile * kMaxHeadDim];
};

// scores = q . k for `vectors` vectors of tokens from `token` on.
template <class Form, int queries, int vectors>
void score_tokens(const void* const* q, const Span& span, int head_dim, float (*scores)[kSpan],
                  int token) {
  F acc[queries][vectors];
#pragma GCC unroll 6
  for (int i = 0; i < queries; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) acc[i][v] = Simd::zero();
  }
  const void* pages[vectors];
  int lanes[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) {
    const int at = token + v * Simd::N;
    pages[v] = span.keys[at / kPageTokens];
    lanes[v] = at % kPageTokens * Form::kTogether;
  }
  for (int d = 0; d < head_dim; d += Form::kTogether) {
    typename Form::Value key[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) key[v] = Form::load(pages[v], d * kPageTokens + lanes[v]);
#pragma GCC unroll 6
    for (int i = 0; i < queries; ++i) {
      const typename Form::Value value = Form::set(q[i], d);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) acc[i][v] = Form::add(value, key[v], acc[i][v]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < queries; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) Simd::store(scores[i] + token + v * Simd::N, acc[i][v]);
  }
}

// sums = sums * factor + weights * values over tokens [first, end), for `vectors` vectors of d.
template <class Form, int queries, int vectors>
void add_values(const Span& span, const float* factors, int padded_dim, int d, int first, int end,
                const float (*weights)[kSpan], float* sums) {
  F acc[queries][vectors];
#pragma GCC unroll 6
  for (int i = 0; i < queries; ++i) {
    const F factor = Simd::set(factors[i]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      acc[i][v] = Simd::mul(Simd::load(sums + i * padded_dim + d + v * Simd::N), factor);
    }
  }
  const auto add = [&](int token, auto&& seen) __attribute__((always_inline)) {
    const void* page = span.values[token / kPageTokens];
    const int64_t row = token % kPageTokens * padded_dim;
    typename Form::Value value[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      value[v] = seen(Form::load(page, row + (d + v * Simd::N) * Form::kTogether));
    }
#pragma GCC unroll 6
    for (int i = 0; i < queries; ++i) {
      const typename Form::Value weight = Form::set(weights[i], token);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) acc[i][v] = Form::add(weight, value[v], acc[i][v]);
    }
  };
  int token = first / Form::kTogether * Form::kTogether;
  for (; token + Form::kTogether <= end; token += Form::kTogether) {
    add(token, [](auto value) { return value; });
  }
  // What lies behind the last token may never have been written.
  if constexpr (Form::kTogether > 1) {
    if (token < end) add(token, Form::first_token);
  }
#pragma GCC unroll 6
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

alignas(64) constexpr auto kTokenIndex = [] {
  std::array<float, kSpan> index{};
  for (int i = 0; i < kSpan; ++i) index[i] = static_cast<float>(i);
  return index;
}();

// Makes the scores of tokens that are not seen less than any other, whatever was there.
void hide_others(const Seen& seen, float* scores) {
  const F first = Simd::set(static_cast<float>(seen.first));
  const F end = Simd::set(static_cast<float>(seen.end));
  const F hidden = Simd::set(-__builtin_inff());
  for (int k = 0; k < kSpan; k += Simd::N) {
    const F token = Simd::load(kTokenIndex.data() + k);
    const F score = Simd::select_less(token, end, Simd::load(scores + k), hidden);
    Simd::store(scores + k, Simd::select_less(token, first, hidden, score));
  }
}

// Turns the scores of queries [begin, end) into weights, which are zero for tokens not seen.
template <class Form>
void weigh_queries(const AttentionTile& t, int begin, int end, int start, float (*scores)[kSpan],
                   QueryStates& states) {
  const float scale = t.softcap > 0 ? 1 : t.query_scale;
  F most[kQueryGroup];
  for (int i = begin; i < end; ++i) {
    float* row = scores[i - begin];
    if (t.softcap > 0) {
      const F cap = Simd::set(t.softcap), inner = Simd::set(t.query_scale / t.softcap);
      for (int k = 0; k < kSpan; k += Simd::N) {
        Simd::store(row + k, Simd::mul(cap, tanh(Simd::mul(Simd::load(row + k), inner))));
      }
    }
    const Seen seen = seen_tokens(t, i, start);
    if (seen.first > 0 || seen.end < kSpan) hide_others(seen, row);
    F largest = Simd::load(row);
#pragma GCC unroll 4
    for (int k = Simd::N; k < kSpan; k += Simd::N) {
      largest = Simd::max(largest, Simd::load(row + k));
    }
    const float top = Simd::max_of(Simd::max(Simd::set(states.most[i]), largest));
    most[i - begin] = Simd::set(top);
    states.factor[i] = top;
  }
  for (int i = begin; i < end; i += Simd::N) {
    const F next = Simd::load(states.factor + i);
    Simd::store(states.factor + i, Form::weigh(Simd::load(states.most + i), next, scale));
    Simd::store_part(states.most + i, next, end - i < Simd::N ? end - i : Simd::N);
  }
  for (int i = begin; i < end; ++i) {
    states.total[i] = Simd::mul(states.total[i], Simd::set(states.factor[i]));
    Form::weigh_span(scores[i - begin], most[i - begin], scale, states.total[i]);
  }
}

// Queries [begin, end), each of which sees something of the span at `start`.
template <class Form>
void attend_group(const AttentionTile& t, int begin, int end, int start, const Span& span,
                  float (*scores)[kSpan], QueryStates& states) {
  Seen any{kSpan, 0};
  for (int i = begin; i < end; ++i) {
    const Seen seen = seen_tokens(t, i, start);
    any.first = seen.first < any.first ? seen.first : any.first;
    any.end = seen.end > any.end ? seen.end : any.end;
  }
  for_query_blocks(begin, end, [&]<int queries>(int i) {
    for_row_tiles<kVectors>(any.first / Simd::N, (any.end + Simd::N - 1) / Simd::N,
                            [&]<int vectors>(int v) {
                              score_tokens<Form, queries, vectors>(states.q + i, span, t.head_dim,
                                                                   scores + i - begin, v * Simd::N);
                            });
  });
  weigh_queries<Form>(t, begin, end, start, scores, states);
  for_query_blocks(begin, end, [&]<int queries>(int i) {
    for_row_tiles<kVectors>(0, t.padded_dim / Simd::N, [&]<int vectors>(int v) {
      add_values<Form, queries, vectors>(span, states.factor + i, t.padded_dim, v * Simd::N,
                                         any.first, any.end, scores + i - begin,
                                         states.sums + i * t.padded_dim);
    });
  });
}

// Finds the span's pages and unpacks them when several blocks of queries will read them.
template <class Form>
void open_span(const AttentionTile& t, int first_page, int pages, bool unpacked,
               AttentionScratch& s, Span& span) {
  for (int i = 0; i < pages; ++i) {
    const int64_t offset = t.pages[first_page + i] * static_cast<int64_t>(t.page_stride);
    span.keys[i] = t.keys + offset;
    span.values[i] = t.values + offset;
    if constexpr (Form::kMostUnpacked < kQueryTile) {
      if (!unpacked) continue;
      Form::unpack(span.keys[i], t.head_dim * kPageTokens, s.keys[i]);
      Form::unpack(span.values[i], kPageTokens * t.padded_dim, s.values[i]);
      span.keys[i] = s.keys[i];
      span.values[i] = s.values[i];
    }
  }
}

void prefetch(const uint8_t* at, int bytes) {
  for (int i = 0; i < bytes; i += 64) Simd::prefetch(at + i);
}

// Pages are nowhere near each other: ask for those of the span at `start` while the one before is
// used.
template <class Form>
void prefetch_span(const AttentionTile& t, int start, int last) {
  for (int page = start / kPageTokens; page < start / kPageTokens + kSpanPages; ++page) {
    if (page > last / kPageTokens) return;
    const int64_t offset = t.pages[page] * static_cast<int64_t>(t.page_stride);
    prefetch(t.keys + offset, t.head_dim * kPageTokens * Form::kBytes);
    prefetch(t.values + offset, kPageTokens * t.padded_dim * Form::kBytes);
  }
}

void write_results(const AttentionTile& t, const QueryStates& states) {
  for (int i = 0; i < t.queries; ++i) {
    const F total = Simd::set(Simd::sum(states.total[i]));
    const float* sums = states.sums + i * t.padded_dim;
    for_vectors(
        t.head_dim,
        [&](int64_t d) { Simd::store(t.y[i] + d, Simd::div(Simd::load(sums + d), total)); },
        [&](int64_t d, int n) {
          Simd::store_part(t.y[i] + d, Simd::div(Simd::load(sums + d), total), n);
        });
  }
}

template <class Form>
void attention(const AttentionTile& t) {
  AttentionScratch scratch;
  QueryStates states;
  for (int i = 0; i < t.queries; ++i) {
    float* sums = states.sums + i * t.padded_dim;
    for (int d = 0; d < t.padded_dim; d += Simd::N) Simd::store(sums + d, Simd::zero());
    states.most[i] = -__builtin_inff();
    states.total[i] = Simd::zero();
    states.q[i] = Form::query(t.q[i], t.head_dim, scratch.queries + i * t.padded_dim);
  }
  const bool unpacked = t.queries > Form::kMostUnpacked;
  // Positions rise with the queries, so those that see a span are neighbours.
  const int last = t.position[t.queries - 1];
  const int oldest =
      t.window > 0 && t.position[0] + 1 > t.window ? t.position[0] + 1 - t.window : 0;
  Span span{};
  prefetch_span<Form>(t, oldest / kSpan * kSpan, last);
  for (int start = oldest / kSpan * kSpan; start <= last; start += kSpan) {
    prefetch_span<Form>(t, start + kSpan, last);
    const int first_page = start / kPageTokens;
    const int left = last / kPageTokens + 1 - first_page;
    open_span<Form>(t, first_page, left < kSpanPages ? left : kSpanPages, unpacked, scratch, span);
    int begin = 0;
    while (begin < t.queries && t.position[begin] < start) ++begin;
    int end = t.queries;
    while (end > begin && t.window > 0 && t.position[end - 1] - t.window + 1 >= start + kSpan)
      --end;
    for (int i = begin; i < end; i += kQueryGroup) {
      const int group_end = end - i < kQueryGroup ? end : i + kQueryGroup;
      if (unpacked) {
        attend_group<typename Form::Unpacked>(t, i, group_end, start, span, scratch.scores, states);
      } else {
        attend_group<Form>(t, i, group_end, start, span, scratch.scores, states);
      }
    }
  }
  write_results(t, states);
}

template <class Form>
constexpr AttentionKernels kAttention = {
    .stored = Form::kStored, .store = Form::store, .attend = attention<Form>};

}  // namespace
}  // namespace smore
