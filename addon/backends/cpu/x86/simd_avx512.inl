// AVX-512 with VNNI: sixteen lanes, one panel wide.

#include <immintrin.h>

#include <cstdint>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

struct Simd {
  static constexpr int N = 16;
  static constexpr int kCodeOffset8 = 128;  // vpdpbusd wants unsigned codes
  static constexpr int kRowTile = 4;
  static constexpr int kFloatTile = 8;
  static constexpr int kQueryBlock = 6;
  static constexpr int kDenseTile = 4;
  using F = __m512;
  using I = __m512i;

  static __mmask16 mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }

  // Inlined at once: GCC 12 takes a function that only prefetches for one without effect.
  [[gnu::always_inline]] static void prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }
  static F zero() { return _mm512_setzero_ps(); }
  static F set(float v) { return _mm512_set1_ps(v); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_part(const float* p, int n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store_part(float* p, F v, int n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F select_less(F a, F b, F then, F otherwise) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), otherwise, then);
  }
  static float sum(F v) { return _mm512_reduce_add_ps(v); }
  // The four sums; each adds halves, then quarters, then pairs of its lanes.
  static Quad sum4(F a, F b, F c, F d) {
    const F ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    F s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
    const I first = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, s));
  }
  static float max_of(F v) { return _mm512_reduce_max_ps(v); }
  static Quad max4(F a, F b, F c, F d) {
    const F ab = _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const F cd = _mm512_max_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    F s = _mm512_max_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    s = _mm512_max_ps(s, _mm512_permute_ps(s, 0x4e));
    s = _mm512_max_ps(s, _mm512_permute_ps(s, 0xb1));
    const I first = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, s));
  }
  // The largest of every four neighbours, in all four of their lanes.
  static F group_max(F v) {
    v = _mm512_max_ps(v, _mm512_permute_ps(v, 0x4e));
    return _mm512_max_ps(v, _mm512_permute_ps(v, 0xb1));
  }

  static I iset(int32_t v) { return _mm512_set1_epi32(v); }
  static I iload(const void* p) { return _mm512_loadu_si512(p); }
  static void istore(void* p, I v) { _mm512_storeu_si512(p, v); }
  static I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
  static I isub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static I iand(I a, I b) { return _mm512_and_si512(a, b); }
  static I ior(I a, I b) { return _mm512_or_si512(a, b); }
  static I imax(I a, I b) { return _mm512_max_epi32(a, b); }
  template <int n>
  static I shl(I v) {
    return _mm512_slli_epi32(v, n);
  }
  template <int n>
  static I shr(I v) {
    return _mm512_srli_epi32(v, n);
  }
  template <int n>
  static I sar(I v) {
    return _mm512_srai_epi32(v, n);
  }
  static I shl_by(I v, int n) { return reinterpret_cast<I>(reinterpret_cast<__v16su>(v) << n); }
  static I shr_by(I v, int n) { return reinterpret_cast<I>(reinterpret_cast<__v16su>(v) >> n); }
  static I bits(F v) { return _mm512_castps_si512(v); }
  static F from_bits(I v) { return _mm512_castsi512_ps(v); }
  static F to_float(I v) { return _mm512_cvtepi32_ps(v); }
  static I round(F v) { return _mm512_cvtps_epi32(v); }
  static int32_t sum(I v) { return _mm512_reduce_add_epi32(v); }
  static int32_t max_of(I v) { return _mm512_reduce_max_epi32(v); }

  static F load_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_half(uint16_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static I load_u8(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_i8(const int8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static I load_u16(const uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static I load_u16_part(const uint16_t* p, int n) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask(n), p));
  }
  static F half_bits_to_float(I v) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v)); }
  static void store_i8(int8_t* p, I v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }
  static I code8(I v) { return _mm512_xor_si512(v, _mm512_set1_epi8(-128)); }

  // Sums of values of [0, 1], each of which counts in units of 2^-40, rounded to the nearest: as a
  // double of 4096 and little more, whose last bits count them (in_units of sampling/softmax.h).
  struct Units {
    I low, high;
  };
  static Units no_units() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
  [[gnu::always_inline]] static Units add_units(Units units, F v) {
    return {add_counted(units.low, _mm512_castps512_ps256(v)),
            add_counted(units.high, _mm512_extractf32x8_ps(v, 1))};
  }
  static uint64_t sum(Units units) {
    return static_cast<uint64_t>(_mm512_reduce_add_epi64(_mm512_add_epi64(units.low, units.high)));
  }

  // Four values in every lane.
  [[gnu::always_inline]] static I set_four(const int8_t* four) {
    int32_t bits;
    __builtin_memcpy(&bits, four, sizeof bits);
    return iset(bits);
  }
  // sum += the products of every lane's four unsigned codes with four values: the i-th of `count`
  // calls that share `words`, in which instruction sets without such products sum for a while.
  template <int bits>
  [[gnu::always_inline]] static void add_products(I& sum, I&, I codes, I four, int, int) {
    sum = _mm512_dpbusd_epi32(sum, codes, four);
  }

 private:
  [[gnu::always_inline]] static I add_counted(I sums, __m256 values) {
    const __m512d counted = _mm512_add_pd(_mm512_cvtps_pd(values), _mm512_set1_pd(4096.0));
    const I units =
        _mm512_sub_epi64(_mm512_castpd_si512(counted), _mm512_set1_epi64(0x40B0000000000000));
    return _mm512_add_epi64(sums, units);
  }
};

}  // namespace
}  // namespace smore
