// Vectors of four lanes in the compiler's own terms: every target has them in some form.

#include <cstring>

#include "backends/cpu/kernels.h"
#include "core/dtype.h"

namespace smore {
namespace {

struct Simd {
  static constexpr int N = 4;
  static constexpr int kCodeOffset8 = 0;  // what is added to 8-bit codes before their products
  static constexpr int kRowTile = 2;      // rows in one pass over a block of codes
  static constexpr int kFloatTile = 2;
  static constexpr int kQueryBlock = 1;
  static constexpr int kDenseTile = 2;
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  typedef uint32_t U __attribute__((vector_size(16)));

  // Inlined at once: GCC 12 takes a function that only prefetches for one without effect.
  [[gnu::always_inline]] static void prefetch(const void* p) { __builtin_prefetch(p); }
  static F zero() { return F{}; }
  static F set(float v) { return F{v, v, v, v}; }
  static F load(const float* p) {
    F v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static F load_part(const float* p, int n) {
    F v{};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static void store(float* p, F v) { std::memcpy(p, &v, sizeof v); }
  static void store_part(float* p, F v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F max(F a, F b) { return a > b ? a : b; }
  static F min(F a, F b) { return a < b ? a : b; }
  static F select_less(F a, F b, F then, F otherwise) { return a < b ? then : otherwise; }
  static float sum(F v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  static Quad sum4(F a, F b, F c, F d) { return Quad{sum(a), sum(b), sum(c), sum(d)}; }
  static float max_of(F v) {
    const F pairs = max(v, F{v[2], v[3], v[0], v[1]});
    return pairs[0] > pairs[1] ? pairs[0] : pairs[1];
  }
  static Quad max4(F a, F b, F c, F d) { return Quad{max_of(a), max_of(b), max_of(c), max_of(d)}; }
  // The largest of every four neighbours, in all four of their lanes.
  static F group_max(F v) { return set(max_of(v)); }

  static I iset(int32_t v) { return I{v, v, v, v}; }
  static I iload(const void* p) {
    I v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void istore(void* p, I v) { std::memcpy(p, &v, sizeof v); }
  static I iadd(I a, I b) { return a + b; }
  static I isub(I a, I b) { return a - b; }
  static I iand(I a, I b) { return a & b; }
  static I ior(I a, I b) { return a | b; }
  static I imax(I a, I b) { return a > b ? a : b; }
  template <int n>
  static I shl(I v) {
    return reinterpret_cast<I>(reinterpret_cast<U>(v) << n);
  }
  template <int n>
  static I shr(I v) {
    return reinterpret_cast<I>(reinterpret_cast<U>(v) >> n);
  }
  template <int n>
  static I sar(I v) {
    return v >> n;
  }
  static I shl_by(I v, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(v) << n); }
  static I shr_by(I v, int n) { return reinterpret_cast<I>(reinterpret_cast<U>(v) >> n); }
  static I bits(F v) { return reinterpret_cast<I>(v); }
  static F from_bits(I v) { return reinterpret_cast<F>(v); }
  static F to_float(I v) { return __builtin_convertvector(v, F); }
  static I round(F v) {  // to nearest even, |v| < 2^22
    const F magic = set(12582912.0f);
    return isub(bits(v + magic), bits(magic));
  }
  static int32_t sum(I v) { return v[0] + v[1] + v[2] + v[3]; }
  static int32_t max_of(I v) {
    int32_t most = v[0];
    for (int i = 1; i < N; ++i) most = v[i] > most ? v[i] : most;
    return most;
  }

  static F load_half(const uint16_t* p) {
    return F{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
  }
  static void store_half(uint16_t* p, F v) {
    for (int i = 0; i < N; ++i) p[i] = float_to_half(v[i]);
  }
  static I load_u8(const uint8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static I load_i8(const int8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static I load_u16(const uint16_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static I load_u16_part(const uint16_t* p, int n) {
    I v{};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static F half_bits_to_float(I v) {
    return F{half_to_float(static_cast<uint16_t>(v[0])), half_to_float(static_cast<uint16_t>(v[1])),
             half_to_float(static_cast<uint16_t>(v[2])),
             half_to_float(static_cast<uint16_t>(v[3]))};
  }
  static void store_i8(int8_t* p, I v) {
    for (int i = 0; i < N; ++i) p[i] = static_cast<int8_t>(v[i]);
  }
  static I code8(I v) { return v; }

  // Sums of values of [0, 1], each of which counts in units of 2^-40, rounded to the nearest: as a
  // double of 4096 and little more, whose last bits count them (in_units of sampling/softmax.h).
  struct Units {
    uint64_t sums[N];
  };
  static Units no_units() { return {}; }
  static Units add_units(Units units, F v) {
    for (int i = 0; i < N; ++i) {
      const double counted = static_cast<double>(v[i]) + 4096.0;
      uint64_t bits;
      std::memcpy(&bits, &counted, sizeof bits);
      units.sums[i] += bits - 0x40B0000000000000;
    }
    return units;
  }
  static uint64_t sum(Units units) {
    return units.sums[0] + units.sums[1] + units.sums[2] + units.sums[3];
  }

  // Four values in every lane.
  static I set_four(const int8_t* four) {
    int32_t bits;
    std::memcpy(&bits, four, sizeof bits);
    return iset(bits);
  }
  // sum += the products of every lane's four codes, which are below 128 or signed, with four
  // values: the i-th of `count` calls that share `words`, where pairs are summed in 16 bits as long
  // as they fit.
  template <int bits>
  static void add_products(I& sum, I& words, I codes, I four, int i, int count) {
    constexpr int kFits = bits == 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
    const Words pairs = even_bytes(codes) * even_bytes(four) + odd_bytes(codes) * odd_bytes(four);
    words = reinterpret_cast<I>(i % kFits == 0 ? pairs : reinterpret_cast<Words>(words) + pairs);
    if (i % kFits == kFits - 1 || i == count - 1) sum += sar<16>(shl<16>(words)) + sar<16>(words);
  }

 private:
  typedef int16_t Words __attribute__((vector_size(16)));
  static Words even_bytes(I v) { return reinterpret_cast<Words>(v) << 8 >> 8; }
  static Words odd_bytes(I v) { return reinterpret_cast<Words>(v) >> 8; }
};

}  // namespace
}  // namespace smore
