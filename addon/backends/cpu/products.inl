// Matrix products over packed panels, in terms of Simd. Float products have one order per (row,
// output) too: over the columns in two chains per slab, slab after slab.

#include "backends/cpu/quantize_rows.inl"

namespace smore {
namespace {

constexpr int kSlab = 256;      // columns unpacked to float at a time
constexpr int kNearRows = 128;  // whose codes stay in a core's second-level cache
static_assert(kNearRows % kRowUnit == 0);
constexpr int kWorthOpening = 32;  // rows from which on codes are unpacked once for all

// Unpacks vectors of outputs, slab after slab, for all rows.
template <DType dtype, int vectors>
void open_product(const Panels& w, const QuantRows& x, const ProductTarget& t, int vector) {
  using Codes = OpenCodes<dtype, vectors>;
  const PackedCodes<dtype, vectors> packed(w, vector);
  const int blocks = w.columns / kBlock;
  Codes codes;
  for (int begin = 0; begin < blocks; begin += Codes::kBlocks) {
    const int end = blocks - begin > Codes::kBlocks ? begin + Codes::kBlocks : blocks;
    codes.open(packed, begin, end);
    for_row_tiles<Simd::kRowTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
      open_rows<rows>(w, codes, begin, end, x, t, vector, row);
    });
  }
}

// All near rows while some panels are in the first-level cache.
template <DType dtype>
void integer_panels(const Panels& w, const QuantRows& x, ProductTarget t) {
  const int end = t.row_end;
  for (; t.row_begin < end; t.row_begin = t.row_end) {
    t.row_end = end - t.row_begin > kNearRows ? t.row_begin + kNearRows : end;
    if (t.row_end - t.row_begin == 1) {  // memory wants one stream
      for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
        integer_rows<dtype, kParts, 1>(w, x, t, panel * kParts, t.row_begin);
      }
      continue;
    }
    for_row_tiles<2>(t.panel_begin * kParts, t.panel_end * kParts, [&]<int vectors>(int vector) {
      if (t.row_end - t.row_begin >= kWorthOpening) {
        return open_product<dtype, vectors>(w, x, t, vector);
      }
      for_row_tiles<Simd::kRowTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
        integer_rows<dtype, vectors, rows>(w, x, t, vector, row);
      });
    });
  }
}

void integer_product(const Panels& w, const QuantRows& x, const ProductTarget& t) {
  for_quantised(w.dtype, [&]<DType dtype>() { integer_panels<dtype>(w, x, t); });
}

void quantize(const float* x, int row_begin, int row_end, const QuantRows& to) {
  for_row_tiles<Simd::kRowTile>(row_begin, row_end, [&]<int rows>(int row) {
    quantize_tile<rows>(x + int64_t{row - row_begin} * to.columns, to, row);
  });
}

// Unpacks one block of a quantised panel to float: [kBlock][kPanel].
template <DType dtype>
void unpack_block(const Panels& w, const uint8_t* panel, int block, float* slab) {
  for (int part = 0; part < kParts; ++part) {
    const Outputs outputs{panel, part};
    const LaneScales s = load_scales<dtype>(w, outputs, block);
    const F offset = Simd::set(static_cast<float>(code_offset(dtype)));
    float* to = slab + part * Simd::N;
    for (int g = 0; g < kGroups; ++g) {
      const F scale = dtype == DType::kQ6_K && g >= kGroups / 2 ? s.second : s.scale;
      const I codes = load_group<dtype>(w, outputs, block, g);
      // Sign extension of the top byte serves signed codes; the others are below 128.
      const I bytes[4] = {Simd::sar<24>(Simd::shl<24>(codes)), Simd::sar<24>(Simd::shl<16>(codes)),
                          Simd::sar<24>(Simd::shl<8>(codes)), Simd::sar<24>(codes)};
      for (int b = 0; b < 4; ++b) {
        const F code = Simd::sub(Simd::to_float(bytes[b]), offset);
        F value = Simd::mul(code, scale);
        if constexpr (has_minimum(dtype)) value = Simd::add(value, s.minimum);
        Simd::store(to + (4 * g + b) * kPanel, value);
      }
    }
  }
}

template <DType dtype>
void unpack_blocks(const Panels& w, const uint8_t* panel, int column, int count, float* slab) {
  for (int block = column / kBlock; block < (column + count) / kBlock;
       ++block, slab += kBlock * kPanel) {
    unpack_block<dtype>(w, panel, block, slab);
  }
}

// Columns [column, column + count) of a panel as floats, [count][kPanel]: unpacked into `slab`, or
// where they lie. Slabs start at multiples of kSlab.
const float* unpack_slab(const Panels& w, const uint8_t* panel, int column, int count,
                         float* slab) {
  switch (w.dtype) {
    case DType::kF32:
      return reinterpret_cast<const float*>(panel) + static_cast<int64_t>(column) * kPanel;
    case DType::kF16: {
      const auto* half =
          reinterpret_cast<const uint16_t*>(panel) + static_cast<int64_t>(column) * kPanel;
      for (int i = 0; i < count * kPanel; i += Simd::N)
        Simd::store(slab + i, Simd::load_half(half + i));
      return slab;
    }
    case DType::kBF16: {
      // Columns lie in pairs, the even one in the low half of a lane.
      const uint8_t* pairs = panel + static_cast<int64_t>(column) * 2 * kPanel;
      const I high = Simd::iset(static_cast<int32_t>(0xffff0000u));
      for (int i = 0; i < (count + 1) / 2; ++i) {
        for (int part = 0; part < kParts; ++part) {
          const I pair = Simd::iload(pairs + (i * kPanel + part * Simd::N) * 4);
          float* to = slab + 2 * i * kPanel + part * Simd::N;
          Simd::store(to, Simd::from_bits(Simd::shl<16>(pair)));
          Simd::store(to + kPanel, Simd::from_bits(Simd::iand(pair, high)));
        }
      }
      return slab;
    }
    case DType::kQ4_0:
      unpack_blocks<DType::kQ4_0>(w, panel, column, count, slab);
      return slab;
    case DType::kQ4_1:
      unpack_blocks<DType::kQ4_1>(w, panel, column, count, slab);
      return slab;
    case DType::kQ5_0:
      unpack_blocks<DType::kQ5_0>(w, panel, column, count, slab);
      return slab;
    case DType::kQ5_1:
      unpack_blocks<DType::kQ5_1>(w, panel, column, count, slab);
      return slab;
    case DType::kQ8_0:
      unpack_blocks<DType::kQ8_0>(w, panel, column, count, slab);
      return slab;
    case DType::kQ4_K:
      unpack_blocks<DType::kQ4_K>(w, panel, column, count, slab);
      return slab;
    case DType::kQ5_K:
      unpack_blocks<DType::kQ5_K>(w, panel, column, count, slab);
      return slab;
    case DType::kQ6_K:
      unpack_blocks<DType::kQ6_K>(w, panel, column, count, slab);
      return slab;
    case DType::kI32:
      break;
  }
  return nullptr;
}

// y (+)= slab * x for `rows` rows and the outputs of one part; even and odd columns in a chain
// each.
template <int rows>
void float_tile(const float* slab, int count, const float* x, int64_t x_stride, bool first,
                float* y, int64_t y_stride, int outs) {
  F even[rows], odd[rows];
#pragma GCC unroll 8
  for (int r = 0; r < rows; ++r) even[r] = odd[r] = Simd::zero();
  int k = 0;
  for (; k + 2 <= count; k += 2) {
    const F w_even = Simd::load(slab + k * kPanel);
    const F w_odd = Simd::load(slab + (k + 1) * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      even[r] = Simd::fma(Simd::set(x[r * x_stride + k]), w_even, even[r]);
      odd[r] = Simd::fma(Simd::set(x[r * x_stride + k + 1]), w_odd, odd[r]);
    }
  }
  if (k < count) {
    const F w_even = Simd::load(slab + k * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      even[r] = Simd::fma(Simd::set(x[r * x_stride + k]), w_even, even[r]);
    }
  }
  for (int r = 0; r < rows; ++r) {
    F sum = Simd::add(even[r], odd[r]);
    if (!first) sum = Simd::add(load_outputs(y + r * y_stride, outs), sum);
    store_outputs(y + r * y_stride, sum, outs);
  }
}

void float_product(const Panels& w, const float* x, int64_t x_stride, const ProductTarget& t) {
  alignas(64) float scratch[kSlab * kPanel];
  for (int panel = t.panel_begin; panel < t.panel_end; ++panel) {
    const uint8_t* data = w.data + panel * w.panel_bytes;
    for (int column = 0; column < w.columns; column += kSlab) {
      const int count = w.columns - column < kSlab ? w.columns - column : kSlab;
      const float* slab = unpack_slab(w, data, column, count, scratch);
      for (int part = 0; part < kParts; ++part) {
        const int first = panel * kPanel + part * Simd::N;
        for_row_tiles<Simd::kFloatTile>(t.row_begin, t.row_end, [&]<int rows>(int row) {
          float_tile<rows>(slab + part * Simd::N, count, x + row * x_stride + column, x_stride,
                           column == 0, t.y + row * t.y_stride + first, t.y_stride, w.outs - first);
        });
      }
    }
    if (!t.bias) continue;
    for (int row = t.row_begin; row < t.row_end; ++row) {
      for (int part = 0; part < kParts; ++part) {
        const int first = panel * kPanel + part * Simd::N;
        float* y = t.y + row * t.y_stride + first;
        store_outputs(y,
                      Simd::add(load_outputs(y, w.outs - first),
                                load_outputs(t.bias + first, w.outs - first)),
                      w.outs - first);
      }
    }
  }
}

}  // namespace
}  // namespace smore
