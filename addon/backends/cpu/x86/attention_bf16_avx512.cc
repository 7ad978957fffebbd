// Attention with queries, keys, weights and values in bfloat16 and sums in float32, by AVX-512's
// own instruction for pairs.

#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/attention.inl"

namespace smore {

extern const AttentionKernels kAvx512Bf16Attention;

namespace {

struct Bf16Form {
  static constexpr DType kStored = DType::kBF16;
  static constexpr int kTogether = 2;
  static constexpr int kBytes = 2;
  static constexpr int kMostUnpacked = kQueryTile;
  using Unpacked = Bf16Form;
  using Value = __m512bh;

  [[gnu::always_inline]] static Value load(const void* from, int64_t index) {
    return pairs(Simd::iload(static_cast<const uint16_t*>(from) + index));
  }
  [[gnu::always_inline]] static Value set(const void* row, int index) {
    int32_t pair;
    __builtin_memcpy(&pair, static_cast<const uint16_t*>(row) + index, sizeof pair);
    return pairs(Simd::iset(pair));
  }
  [[gnu::always_inline]] static F add(Value value, Value times, F sum) {
    return _mm512_dpbf16_ps(sum, value, times);
  }
  [[gnu::always_inline]] static Value first_token(Value both) {
    return pairs(Simd::iand(reinterpret_cast<I>(both), Simd::iset(0xffff)));
  }
  static const void* query(const float* q, int head_dim, void* scratch) {
    auto* rounded = static_cast<uint16_t*>(scratch);
    for (int d = 0; d < head_dim; d += Simd::N)
      store_half_row(rounded + d, load_row(q, d, head_dim));
    return rounded;
  }

  // 2^(scale log2(e) (score - most)), within 3e-6 of itself: rounding to bfloat16 does a thousand
  // times as much. What is below 2^-200 is 0; NaN stays NaN.
  static F weigh(F score, F most, float scale) {
    const F factor = Simd::set(scale * 1.44269504f);
    return power_of_two(Simd::fma(score, factor, Simd::mul(most, Simd::sub(Simd::zero(), factor))));
  }
  // The sum is that of the rounded weights, so that they add up to 1.
  static void weigh_span(float* scores, F most, float scale, F& total) {
    constexpr int kVectorCount = kSpan / Simd::N;
    F weights[kVectorCount];
#pragma GCC unroll 4
    for (int i = 0; i < kVectorCount; ++i) {
      weights[i] = weigh(Simd::load(scores + i * Simd::N), most, scale);
    }
    const Value ones = pairs(Simd::iset(0x3f803f80));
#pragma GCC unroll 2
    for (int i = 0; i < kVectorCount; i += 2) {
      const Value rounded = _mm512_cvtne2ps_pbh(weights[i + 1], weights[i]);
      _mm512_storeu_si512(reinterpret_cast<uint16_t*>(scores) + i * Simd::N,
                          reinterpret_cast<I>(rounded));
      total = add(rounded, ones, total);
    }
  }

  static void store(const float* key, const float* value, int head_dim, int padded_dim, int slot,
                    uint8_t* keys, uint8_t* values) {
    alignas(64) uint16_t rounded[kMaxHeadDim];
    query(key, head_dim, rounded);
    for (int d = 0; d < head_dim; d += 2) {
      __builtin_memcpy(keys + (d * kPageTokens + 2 * slot) * sizeof(uint16_t), rounded + d, 4);
    }
    // The other token of each pair may be another thread's to write.
    const __mmask32 own = slot % 2 == 0 ? 0x55555555 : 0xaaaaaaaa;
    auto* row = reinterpret_cast<uint16_t*>(values) + slot / 2 * 2 * padded_dim;
    for (int d = 0; d < padded_dim; d += Simd::N) {
      const __m512i lanes = _mm512_cvtepu16_epi32(round_to_nearest(load_row(value, d, head_dim)));
      const __m512i both = _mm512_or_si512(lanes, _mm512_slli_epi32(lanes, 16));
      _mm512_mask_storeu_epi16(row + 2 * d, own, both);
    }
  }

 private:
  [[gnu::always_inline]] static Value pairs(I bits) { return reinterpret_cast<Value>(bits); }
  static __m256i round_to_nearest(F v) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)); }
  static F load_row(const float* row, int d, int head_dim) {
    const int left = head_dim - d;
    if (left >= Simd::N) return Simd::load(row + d);
    return left > 0 ? Simd::load_part(row + d, left) : Simd::zero();
  }
  static void store_half_row(uint16_t* to, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), round_to_nearest(v));
  }
  static F power_of_two(F x) {
    x = Simd::max(Simd::set(-200), x);  // the second operand is what NaN yields
    const F whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const F r = Simd::sub(x, whole);
    F p = Simd::set(9.58285e-3f);
    p = Simd::fma(p, r, Simd::set(5.590643e-2f));
    p = Simd::fma(p, r, Simd::set(2.4024099e-1f));
    p = Simd::fma(p, r, Simd::set(6.9312419e-1f));
    p = Simd::fma(p, r, Simd::set(1));
    return _mm512_scalef_ps(p, whole);
  }
};

}  // namespace

const AttentionKernels kAvx512Bf16Attention = kAttention<Bf16Form>;

}  // namespace smore
