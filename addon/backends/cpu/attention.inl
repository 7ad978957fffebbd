// Attention of a tile of queries over the pages of one KV head. A query sees its pages in the order
// of their positions and keeps a running maximum (online softmax), so the order of its sums depends
// on its position alone, never on its tile.

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

struct PageScratch {
  alignas(64) float keys[kMaxHeadDim * kPageTokens];
  alignas(64) float values[kPageTokens * kMaxHeadDim];
};

struct QueryState {
  float most;   // largest score so far
  float total;  // sum of exp(score - most)
};

void to_floats(const uint16_t* from, int count, float* to) {
  for (int i = 0; i < count; i += Simd::N) Simd::store(to + i, Simd::load_half(from + i));
}

// scores[query][token] = q . k for the tokens of one page.
template <int queries>
void page_scores(const float* const* q, const float* keys, int head_dim, float* scores) {
  for (int part = 0; part < kPageTokens / Simd::N; ++part) {
    F acc[queries];
    for (int i = 0; i < queries; ++i) acc[i] = Simd::zero();
    for (int d = 0; d < head_dim; ++d) {
      const F key = Simd::load(keys + d * kPageTokens + part * Simd::N);
#pragma GCC unroll 4
      for (int i = 0; i < queries; ++i) acc[i] = Simd::fma(Simd::set(q[i][d]), key, acc[i]);
    }
    for (int i = 0; i < queries; ++i) {
      Simd::store(scores + i * kPageTokens + part * Simd::N, acc[i]);
    }
  }
}

// Turns the scores of tokens [first, end) of a page into weights; the others become zero. Returns
// the factor for what was summed before.
float page_weights(const AttentionTile& t, int first, int end, float* scores, QueryState& state) {
  for (int i = 0; i < kPageTokens; i += Simd::N) {
    F s = Simd::mul(Simd::load(scores + i), Simd::set(t.query_scale));
    if (t.softcap > 0) {
      const F cap = Simd::set(t.softcap);
      s = Simd::mul(cap, tanh(Simd::div(s, cap)));
    }
    Simd::store(scores + i, s);
  }
  for (int i = 0; i < first; ++i) scores[i] = -__builtin_inff();
  for (int i = end; i < kPageTokens; ++i) scores[i] = -__builtin_inff();
  F most = Simd::set(state.most);
  for (int i = 0; i < kPageTokens; i += Simd::N) most = Simd::max(most, Simd::load(scores + i));
  const float new_most = Simd::max_of(most);
  F total = Simd::zero();
  for (int i = 0; i < kPageTokens; i += Simd::N) {
    const F weight = exp(Simd::sub(Simd::load(scores + i), Simd::set(new_most)));
    Simd::store(scores + i, weight);
    total = Simd::add(total, weight);
  }
  float factor[Simd::N];
  Simd::store(factor, exp(Simd::sub(Simd::set(state.most), Simd::set(new_most))));
  state.total = state.total * factor[0] + Simd::sum(total);
  state.most = new_most;
  return factor[0];
}

// y = y * factor + weights * values over tokens [first, end).
template <int vectors>
void add_values(const float* weights, const float* values, int padded_dim, int first, int end,
                F factor, float* y) {
  F acc[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) acc[v] = Simd::mul(Simd::load(y + v * Simd::N), factor);
  for (int token = first; token < end; ++token) {
    const F weight = Simd::set(weights[token]);
    const float* from = values + token * padded_dim;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      acc[v] = Simd::fma(weight, Simd::load(from + v * Simd::N), acc[v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; ++v) Simd::store(y + v * Simd::N, acc[v]);
}

void attend_page(const AttentionTile& t, int page, const float* keys, const float* values,
                 QueryState* states, float (*sums)[kMaxHeadDim]) {
  alignas(64) float scores[kQueryTile][kPageTokens];
  for_row_tiles<4>(0, t.queries, [&]<int queries>(int i) {
    page_scores<queries>(t.q + i, keys, t.head_dim, scores[i]);
  });
  const int start = page * kPageTokens;
  for (int i = 0; i < t.queries; ++i) {
    const int oldest = t.window > 0 ? t.position[i] - t.window + 1 : 0;
    const int first = oldest > start ? oldest - start : 0;
    const int end = t.position[i] + 1 - start < kPageTokens ? t.position[i] + 1 - start : kPageTokens;
    if (first >= end) continue;
    const F factor = Simd::set(page_weights(t, first, end, scores[i], states[i]));
    int d = 0;
    for (; d + 4 * Simd::N <= t.padded_dim; d += 4 * Simd::N) {
      add_values<4>(scores[i], values + d, t.padded_dim, first, end, factor, sums[i] + d);
    }
    for (; d < t.padded_dim; d += Simd::N) {
      add_values<1>(scores[i], values + d, t.padded_dim, first, end, factor, sums[i] + d);
    }
  }
}

template <bool half>
void attention(const AttentionTile& t) {
  PageScratch scratch;
  alignas(64) float sums[kQueryTile][kMaxHeadDim];
  QueryState states[kQueryTile];
  int last = 0;
  int oldest = t.position[0];
  for (int i = 0; i < t.queries; ++i) {
    for (int d = 0; d < t.padded_dim; ++d) sums[i][d] = 0;
    states[i] = {-__builtin_inff(), 0};
    last = t.position[i] > last ? t.position[i] : last;
    oldest = t.position[i] < oldest ? t.position[i] : oldest;
  }
  const int visible = t.window > 0 && oldest + 1 > t.window ? oldest + 1 - t.window : 0;
  for (int page = visible / kPageTokens; page <= last / kPageTokens; ++page) {
    const uint8_t* keys = t.keys + t.pages[page] * t.page_stride;
    const uint8_t* values = t.values + t.pages[page] * t.page_stride;
    if constexpr (half) {
      to_floats(reinterpret_cast<const uint16_t*>(keys), t.head_dim * kPageTokens, scratch.keys);
      to_floats(reinterpret_cast<const uint16_t*>(values), kPageTokens * t.padded_dim, scratch.values);
      attend_page(t, page, scratch.keys, scratch.values, states, sums);
    } else {
      attend_page(t, page, reinterpret_cast<const float*>(keys),
                  reinterpret_cast<const float*>(values), states, sums);
    }
  }
  for (int i = 0; i < t.queries; ++i) {
    for (int d = 0; d < t.head_dim; ++d) t.y[i][d] = sums[i][d] / states[i].total;
  }
}

}  // namespace
}  // namespace smore
