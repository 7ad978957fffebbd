// Products of adapters' codes and activations in 16 bits by AVX-512 VNNI's instruction for pairs of
// such integers: exact sums, so that only their scales round.

#include "backends/cpu/x86/simd_avx512.inl"

#include "backends/cpu/x86/dense_pairs_avx512.inl"

namespace smore {

extern const CodeKernels kAvx512CodeProducts;

namespace {

// Largest values below this are nothing: the inverse of their scale would not be finite.
constexpr float kNothing = 1e-30f;

void round_row(const float* x, int columns, int largest, int16_t* values, float* scale) {
  const auto for_vectors = [&](auto fn) {
    int k = 0;
    for (; k + Simd::N <= columns; k += Simd::N) fn(k, Simd::load(x + k), Simd::N);
    const int left = columns - k;
    if (left > 0) fn(k, Simd::load_part(x + k, left), left);
  };
  F most = Simd::zero();
  F zeros = Simd::zero();  // or not a number, where a value is not finite
  for_vectors([&](int, F v, int) {
    most = Simd::max(most, _mm512_abs_ps(v));
    zeros = Simd::fma(v, Simd::zero(), zeros);
  });
  const float top = Simd::max_of(most);
  const bool some = top >= kNothing;
  const F factor = Simd::set(some ? static_cast<float>(largest) / top : 0);
  for_vectors([&](int k, F v, int count) {
    const I integers = Simd::round(Simd::mul(v, factor));
    _mm256_mask_storeu_epi16(values + k, Simd::mask((count + 1) / 2 * 2),
                             _mm512_cvtepi32_epi16(integers));
  });
  *scale = (some ? top / static_cast<float>(largest) : 0) + Simd::sum(zeros);
}

struct CodePairs {
  using Value = int16_t;
  using Sum = I;
  static constexpr int kBytes = 1;

  static const int16_t* rows(const DenseTile& t) { return t.integers; }
  static int64_t row_bytes(int in) { return code_row_bytes(in); }
  static I zero() { return Simd::iset(0); }
  static I weights(const uint8_t* at) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }
  static I weights_part(const uint8_t* at, __mmask32) { return weights(at); }  // padded
  // Not the intrinsic, whose sums GCC 12 copies from register to register and back.
  static I add(I sum, I w, I x) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
  }
  static F floats(const DenseTile& t, int i, I sum) {
    return Simd::mul(Simd::to_float(sum), Simd::set(t.x_scales[t.x_rows ? t.x_rows[i] : i]));
  }
};

}  // namespace

const CodeKernels kAvx512CodeProducts = {.round_row = round_row, .dense = dense_pairs<CodePairs>};

}  // namespace smore
