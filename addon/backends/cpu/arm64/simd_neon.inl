// NEON with products of signed bytes (Armv8.2's dot products): four lanes, a quarter of a panel.

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "backends/cpu/kernels.h"

namespace smore {
namespace {

struct Simd {
  static constexpr int N = 4;
  static constexpr int kCodeOffset8 = 0;  // products are of signed codes
  static constexpr int kRowTile = 4;
  static constexpr int kFloatTile = 4;
  static constexpr int kQueryBlock = 2;
  static constexpr int kDenseTile = 4;
  using F = float32x4_t;
  using I = int32x4_t;

  // Inlined at once: GCC 12 takes a function that only prefetches for one without effect.
  [[gnu::always_inline]] static void prefetch(const void* p) { __builtin_prefetch(p); }
  static F zero() { return vdupq_n_f32(0); }
  static F set(float v) { return vdupq_n_f32(v); }
  static F load(const float* p) { return vld1q_f32(p); }
  static F load_part(const float* p, int n) {
    float padded[N] = {};
    for (int i = 0; i < n; ++i) padded[i] = p[i];
    return load(padded);
  }
  static void store(float* p, F v) { vst1q_f32(p, v); }
  static void store_part(float* p, F v, int n) {
    float values[N];
    store(values, v);
    for (int i = 0; i < n; ++i) p[i] = values[i];
  }
  static F add(F a, F b) { return vaddq_f32(a, b); }
  static F sub(F a, F b) { return vsubq_f32(a, b); }
  static F mul(F a, F b) { return vmulq_f32(a, b); }
  static F div(F a, F b) { return vdivq_f32(a, b); }
  static F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
  static F max(F a, F b) { return vmaxq_f32(a, b); }
  static F min(F a, F b) { return vminq_f32(a, b); }
  static F select_less(F a, F b, F then, F otherwise) {
    return vbslq_f32(vcltq_f32(a, b), then, otherwise);
  }
  static float sum(F v) { return vaddvq_f32(v); }
  static Quad sum4(F a, F b, F c, F d) { return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)); }
  static float max_of(F v) { return vmaxvq_f32(v); }
  static Quad max4(F a, F b, F c, F d) { return vpmaxq_f32(vpmaxq_f32(a, b), vpmaxq_f32(c, d)); }
  // The largest of every four neighbours, in all four of their lanes.
  static F group_max(F v) { return vdupq_n_f32(vmaxvq_f32(v)); }

  static I iset(int32_t v) { return vdupq_n_s32(v); }
  static I iload(const void* p) {
    return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
  }
  static void istore(void* p, I v) { vst1q_s32(static_cast<int32_t*>(p), v); }
  static I iadd(I a, I b) { return vaddq_s32(a, b); }
  static I isub(I a, I b) { return vsubq_s32(a, b); }
  static I iand(I a, I b) { return vandq_s32(a, b); }
  static I ior(I a, I b) { return vorrq_s32(a, b); }
  static I imax(I a, I b) { return vmaxq_s32(a, b); }
  template <int n>
  static I shl(I v) {
    return vshlq_n_s32(v, n);
  }
  template <int n>
  static I shr(I v) {
    return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(v), n));
  }
  template <int n>
  static I sar(I v) {
    return vshrq_n_s32(v, n);
  }
  static I shl_by(I v, int n) { return vshlq_s32(v, vdupq_n_s32(n)); }
  static I shr_by(I v, int n) {
    return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), vdupq_n_s32(-n)));
  }
  static I bits(F v) { return vreinterpretq_s32_f32(v); }
  static F from_bits(I v) { return vreinterpretq_f32_s32(v); }
  static F to_float(I v) { return vcvtq_f32_s32(v); }
  static I round(F v) { return vcvtnq_s32_f32(v); }
  static int32_t sum(I v) { return vaddvq_s32(v); }
  static int32_t max_of(I v) { return vmaxvq_s32(v); }

  static F load_half(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static void store_half(uint16_t* p, F v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
  static I load_u8(const uint8_t* p) {
    uint32_t four;
    std::memcpy(&four, p, sizeof four);
    const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(four));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
  }
  static I load_i8(const int8_t* p) {
    uint32_t four;
    std::memcpy(&four, p, sizeof four);
    return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)))));
  }
  static I load_u16(const uint16_t* p) { return vreinterpretq_s32_u32(vmovl_u16(vld1_u16(p))); }
  static I load_u16_part(const uint16_t* p, int n) {
    uint16_t padded[N] = {};
    for (int i = 0; i < n; ++i) padded[i] = p[i];
    return load_u16(padded);
  }
  static F half_bits_to_float(I v) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_s32(v))));
  }
  static void store_i8(int8_t* p, I v) {
    const int16x4_t words = vmovn_s32(v);
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    const uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    std::memcpy(p, &four, sizeof four);
  }
  static I code8(I v) { return v; }

  // Sums of values of [0, 1], each of which counts in units of 2^-40, rounded to the nearest: as a
  // double of 4096 and little more, whose last bits count them (in_units of sampling/softmax.h).
  struct Units {
    uint64x2_t low, high;
  };
  static Units no_units() { return {vdupq_n_u64(0), vdupq_n_u64(0)}; }
  static Units add_units(Units units, F v) {
    return {add_counted(units.low, vcvt_f64_f32(vget_low_f32(v))),
            add_counted(units.high, vcvt_high_f64_f32(v))};
  }
  static uint64_t sum(Units units) { return vaddvq_u64(vaddq_u64(units.low, units.high)); }

  // Four values in every lane.
  [[gnu::always_inline]] static I set_four(const int8_t* four) {
    int32_t bits;
    std::memcpy(&bits, four, sizeof bits);
    return iset(bits);
  }
  // sum += the products of every lane's four codes, which are below 128 or signed, with four
  // values: the i-th of `count` calls that share `words`, in which instruction sets without such
  // products sum for a while.
  template <int bits>
  [[gnu::always_inline]] static void add_products(I& sum, I&, I codes, I four, int, int) {
    sum = vdotq_s32(sum, vreinterpretq_s8_s32(codes), vreinterpretq_s8_s32(four));
  }

 private:
  static uint64x2_t add_counted(uint64x2_t sums, float64x2_t values) {
    const uint64x2_t counted = vreinterpretq_u64_f64(vaddq_f64(values, vdupq_n_f64(4096.0)));
    return vaddq_u64(sums, vsubq_u64(counted, vdupq_n_u64(0x40B0000000000000)));
  }
};

}  // namespace
}  // namespace smore
