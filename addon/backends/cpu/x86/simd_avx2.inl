// AVX2 with FMA and F16C: eight lanes, half a panel.

#include <immintrin.h>

#include <cstdint>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

alignas(32) constexpr int32_t kLaneMasks[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                0,  0,  0,  0,  0,  0,  0,  0};

struct Simd {
  static constexpr int N = 8;
  static constexpr int kCodeOffset8 = 0;
  static constexpr int kRowTile = 4;
  static constexpr int kFloatTile = 4;
  static constexpr int kQueryBlock = 2;
  static constexpr int kDenseTile = 2;
  using F = __m256;
  using I = __m256i;

  static I mask(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMasks + 8 - n));
  }

  // Inlined at once: GCC 12 takes a function that only prefetches for one without effect.
  [[gnu::always_inline]] static void prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }
  static F zero() { return _mm256_setzero_ps(); }
  static F set(float v) { return _mm256_set1_ps(v); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_part(const float* p, int n) { return _mm256_maskload_ps(p, mask(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store_part(float* p, F v, int n) { _mm256_maskstore_ps(p, mask(n), v); }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F select_less(F a, F b, F then, F otherwise) {
    return _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static float sum(F v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  // The four sums; each adds neighbours, then pairs of them, then the halves.
  static Quad sum4(F a, F b, F c, F d) {
    const F s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  }
  static float max_of(F v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }
  static Quad max4(F a, F b, F c, F d) {
    const F ab = _mm256_max_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const F cd = _mm256_max_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const F s = _mm256_max_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    return _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  }
  // The largest of every four neighbours, in all four of their lanes.
  static F group_max(F v) {
    v = _mm256_max_ps(v, _mm256_permute_ps(v, 0x4e));
    return _mm256_max_ps(v, _mm256_permute_ps(v, 0xb1));
  }

  static I iset(int32_t v) { return _mm256_set1_epi32(v); }
  static I iload(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static void istore(void* p, I v) { _mm256_storeu_si256(static_cast<I*>(p), v); }
  static I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
  static I isub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static I iand(I a, I b) { return _mm256_and_si256(a, b); }
  static I ior(I a, I b) { return _mm256_or_si256(a, b); }
  static I imax(I a, I b) { return _mm256_max_epi32(a, b); }
  template <int n>
  static I shl(I v) {
    return _mm256_slli_epi32(v, n);
  }
  template <int n>
  static I shr(I v) {
    return _mm256_srli_epi32(v, n);
  }
  template <int n>
  static I sar(I v) {
    return _mm256_srai_epi32(v, n);
  }
  static I shl_by(I v, int n) { return reinterpret_cast<I>(reinterpret_cast<__v8su>(v) << n); }
  static I shr_by(I v, int n) { return reinterpret_cast<I>(reinterpret_cast<__v8su>(v) >> n); }
  static I bits(F v) { return _mm256_castps_si256(v); }
  static F from_bits(I v) { return _mm256_castsi256_ps(v); }
  static F to_float(I v) { return _mm256_cvtepi32_ps(v); }
  static I round(F v) { return _mm256_cvtps_epi32(v); }
  static int32_t sum(I v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
  }
  static int32_t max_of(I v) {
    __m128i s = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
  }

  static F load_half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store_half(uint16_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static I load_u8(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_i8(const int8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_u16(const uint16_t* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_u16_part(const uint16_t* p, int n) {
    uint16_t padded[N] = {};
    for (int i = 0; i < n; ++i) padded[i] = p[i];
    return load_u16(padded);
  }
  static F half_bits_to_float(I v) {
    const I words = _mm256_packus_epi32(v, v);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(words, 0x08)));
  }
  static void store_i8(int8_t* p, I v) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static I code8(I v) { return v; }

  // Sums of values of [0, 1], each of which counts in units of 2^-40, rounded to the nearest: as a
  // double of 4096 and little more, whose last bits count them (in_units of sampling/softmax.h).
  struct Units {
    I low, high;
  };
  static Units no_units() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  [[gnu::always_inline]] static Units add_units(Units units, F v) {
    return {add_counted(units.low, _mm256_castps256_ps128(v)),
            add_counted(units.high, _mm256_extractf128_ps(v, 1))};
  }
  static uint64_t sum(Units units) {
    const I pairs = _mm256_add_epi64(units.low, units.high);
    return static_cast<uint64_t>(_mm256_extract_epi64(pairs, 0)) +
           static_cast<uint64_t>(_mm256_extract_epi64(pairs, 1)) +
           static_cast<uint64_t>(_mm256_extract_epi64(pairs, 2)) +
           static_cast<uint64_t>(_mm256_extract_epi64(pairs, 3));
  }

  // Four values in every lane.
  [[gnu::always_inline]] static I set_four(const int8_t* four) {
    int32_t bits;
    __builtin_memcpy(&bits, four, sizeof bits);
    return iset(bits);
  }
  // sum += the products of every lane's four codes with four values: the i-th of `count` calls that
  // share `words`, where pairs are summed in 16 bits as long as they fit. Codes below 8 bits are
  // unsigned, those of 8 bits are signed.
  template <int bits>
  [[gnu::always_inline]] static void add_products(I& sum, I& words, I codes, I four, int i,
                                                  int count) {
    constexpr int kFits = bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
    const I pair_sums = pairs<bits>(codes, four);
    words = i % kFits == 0 ? pair_sums : _mm256_add_epi16(words, pair_sums);
    if (i % kFits == kFits - 1 || i == count - 1) {
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    }
  }

 private:
  [[gnu::always_inline]] static I add_counted(I sums, __m128 values) {
    const __m256d counted = _mm256_add_pd(_mm256_cvtps_pd(values), _mm256_set1_pd(4096.0));
    const I units =
        _mm256_sub_epi64(_mm256_castpd_si256(counted), _mm256_set1_epi64x(0x40B0000000000000));
    return _mm256_add_epi64(sums, units);
  }
  template <int bits>
  [[gnu::always_inline]] static I pairs(I codes, I values) {
    if constexpr (bits < 8) return _mm256_maddubs_epi16(codes, values);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(values, codes));
  }
};

}  // namespace
}  // namespace smore
