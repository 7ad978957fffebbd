// Products with weights as float types, in one chain per (row, output). Row-major: lanes run along
// the columns and are summed at the end. In panels: lanes are outputs, and nothing is left to sum.

#include "backends/cpu/dense_tiles.inl"

namespace smore {
namespace {

// How a weight is stored.
enum class Stored { kF32, kF16, kBF16, kCode };

template <Stored stored>
constexpr int kBytes = stored == Stored::kF32    ? 4
                       : stored == Stored::kCode ? 1
                                                 : 2;

template <Stored stored>
[[gnu::always_inline]] inline F load_weights(const uint8_t* at) {
  if constexpr (stored == Stored::kF32) {
    return Simd::load(reinterpret_cast<const float*>(at));
  } else if constexpr (stored == Stored::kCode) {
    return Simd::to_float(Simd::load_i8(reinterpret_cast<const int8_t*>(at)));
  } else if constexpr (stored == Stored::kF16) {
    return Simd::load_half(reinterpret_cast<const uint16_t*>(at));
  } else {
    return Simd::from_bits(Simd::shl<16>(Simd::load_u16(reinterpret_cast<const uint16_t*>(at))));
  }
}

// The last columns, zero beyond: never reads past the row. Rows of codes are padded.
template <Stored stored>
[[gnu::always_inline]] inline F load_weights_part(const uint8_t* at, int count) {
  if constexpr (stored == Stored::kF32) {
    return Simd::load_part(reinterpret_cast<const float*>(at), count);
  } else if constexpr (stored == Stored::kCode) {
    return load_weights<stored>(at);
  } else {
    const I bits = Simd::load_u16_part(reinterpret_cast<const uint16_t*>(at), count);
    if constexpr (stored == Stored::kF16) return Simd::half_bits_to_float(bits);
    return Simd::from_bits(Simd::shl<16>(bits));
  }
}

// Two neighbouring columns of a panel.
struct ColumnPair {
  F even;
  F odd;
};

template <Stored stored>
[[gnu::always_inline]] inline ColumnPair load_pair(const uint8_t* at) {
  if constexpr (stored == Stored::kCode) {
    const I codes = Simd::load_u16(reinterpret_cast<const uint16_t*>(at));
    return {Simd::to_float(Simd::sar<24>(Simd::shl<24>(codes))),
            Simd::to_float(Simd::sar<24>(Simd::shl<16>(codes)))};
  } else {
    const I both = Simd::iload(at);
    return {Simd::from_bits(Simd::shl<16>(both)),
            Simd::from_bits(Simd::iand(both, Simd::iset(static_cast<int32_t>(0xffff0000u))))};
  }
}

// Four outputs at most, whose sums share their last steps.
template <Stored stored, int outs, int rows>
void dense_tile(const DenseTile& t, int out, int row) {
  const float* x[rows];
  for (int r = 0; r < rows; ++r) x[r] = input_row(t, row + r);
  const int64_t row_bytes =
      (stored == Stored::kCode ? code_row_bytes(t.in) : t.in * kBytes<stored>);
  const auto* base = static_cast<const uint8_t*>(t.w) + out * row_bytes;
  F acc[outs][rows];
#pragma GCC unroll 4
  for (int o = 0; o < outs; ++o) {
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) acc[o][r] = Simd::zero();
  }
  int k = 0;
  for (; k + Simd::N <= t.in; k += Simd::N) {
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const F w = load_weights<stored>(base + o * row_bytes + k * kBytes<stored>);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) acc[o][r] = Simd::fma(w, Simd::load(x[r] + k), acc[o][r]);
    }
  }
  if (k < t.in) {
    const int left = t.in - k;
#pragma GCC unroll 4
    for (int o = 0; o < outs; ++o) {
      const F w = load_weights_part<stored>(base + o * row_bytes + k * kBytes<stored>, left);
#pragma GCC unroll 4
      for (int r = 0; r < rows; ++r) {
        acc[o][r] = Simd::fma(w, Simd::load_part(x[r] + k, left), acc[o][r]);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    const auto sum = [&](int o) { return o < outs ? acc[o < outs ? o : 0][r] : Simd::zero(); };
    store_quad<outs>(t, out, row + r, Simd::sum4(sum(0), sum(1), sum(2), sum(3)));
  }
}

template <Stored stored>
void dense_typed(const DenseTile& t) {
  for_row_tiles<Simd::kDenseTile>(0, t.rows, [&]<int rows>(int row) {
    for_row_tiles<4>(0, t.out,
                     [&]<int outs>(int out) { dense_tile<stored, outs, rows>(t, out, row); });
  });
}

// How far ahead of a panel's weights memory is asked for, in bytes. Shorter panels ask for those
// that are next.
constexpr int64_t kAhead = 4096;

// Adds the products of columns [0, in) with outputs [vec * N, (vec + vecs) * N). Columns of two
// bytes of bfloat16 lie in pairs, which one load brings: [in / 2][kPanel][2].
template <Stored stored, int vecs, int rows>
[[gnu::always_inline]] inline void add_columns(const DenseTile& t, int vec, const float* const* x,
                                               F (*acc)[rows]) {
  constexpr bool kPairs = stored == Stored::kBF16 || stored == Stored::kCode;
  constexpr int kSize = kBytes<stored> * (kPairs ? 2 : 1);  // of a column or a pair
  const int steps = kPairs ? (t.in + 1) / 2 : t.in;
  const uint8_t* base[vecs];
#pragma GCC unroll 8
  for (int v = 0; v < vecs; ++v) {
    const int out = (vec + v) * Simd::N;
    base[v] = static_cast<const uint8_t*>(t.w) +
              (static_cast<int64_t>(out / kPanel) * kPanel * steps + out % kPanel) * kSize;
  }
  const int64_t bytes = int64_t{vecs} * Simd::N * steps * kSize;
  const int64_t ahead = bytes < kAhead ? bytes : kAhead;
  const auto add = [&](int k, const F* w) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const F value = Simd::set(x[r][k]);
#pragma GCC unroll 8
      for (int v = 0; v < vecs; ++v) acc[v][r] = Simd::fma(w[v], value, acc[v][r]);
    }
  };
  for (int step = 0; step < steps; ++step) {
    F w[vecs];
    if constexpr (kPairs) {
      F odd[vecs];
#pragma GCC unroll 8
      for (int v = 0; v < vecs; ++v) {
        Simd::prefetch(base[v] + ahead + step * kPanel * kSize);
        const ColumnPair pair = load_pair<stored>(base[v] + step * kPanel * kSize);
        w[v] = pair.even;
        odd[v] = pair.odd;
      }
      add(2 * step, w);
      if (2 * step + 1 < t.in) add(2 * step + 1, odd);
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < vecs; ++v) {
        Simd::prefetch(base[v] + ahead + step * kPanel * kSize);
        w[v] = load_weights<stored>(base[v] + step * kPanel * kSize);
      }
      add(step, w);
    }
  }
}

// Outputs [vec * N, (vec + vecs) * N) of `rows` rows.
template <Stored stored, int vecs, int rows>
void panel_tile(const DenseTile& t, int vec, int row) {
  const float* x[rows];
  for (int r = 0; r < rows; ++r) x[r] = input_row(t, row + r);
  F acc[vecs][rows];
#pragma GCC unroll 8
  for (int v = 0; v < vecs; ++v) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) acc[v][r] = Simd::zero();
  }
  add_columns<stored, vecs, rows>(t, vec, x, acc);
  float* y[rows];
  for (int r = 0; r < rows; ++r) y[r] = output_row(t, row + r);
#pragma GCC unroll 8
  for (int v = 0; v < vecs; ++v) store_sums<rows>(t, (vec + v) * Simd::N, y, acc[v]);
}

template <Stored stored>
void panels_typed(const DenseTile& t) {
  const int total = (t.out + Simd::N - 1) / Simd::N;
  for_row_tiles<Simd::kFloatTile>(0, t.rows, [&]<int rows>(int row) {
    // Few rows take more outputs at a time, so that the sums' latency stays hidden.
    constexpr int kVecs = rows * 2 <= Simd::kFloatTile ? 4 : 2;
    for_row_tiles<kVecs>(0, total,
                         [&]<int vecs>(int vec) { panel_tile<stored, vecs, rows>(t, vec, row); });
  });
}

template <Stored stored>
void dense_stored(const DenseTile& t) {
  if (t.panels) return panels_typed<stored>(t);
  dense_typed<stored>(t);
}

void dense(const DenseTile& t) {
  if (t.scales) return dense_stored<Stored::kCode>(t);
  if (t.dtype == DType::kF32) return dense_stored<Stored::kF32>(t);
  if (t.dtype == DType::kF16) return dense_stored<Stored::kF16>(t);
  dense_stored<Stored::kBF16>(t);
}

}  // namespace
}  // namespace smore
