#include "backends/cpu/pack.h"

#include <cstring>

#include "backends/cpu/source_block.h"
#include "backends/matrix_source.h"

// The bits of a panel. Float types: column after column, 16 outputs each; bfloat16 in pairs of
// columns, so that a lane of 32 bits holds both of its output's. Quantised types: per block of 32
// columns eight groups of 64 bytes, where lane o (4 bytes) of group g has columns 4 g .. 4 g + 3 of
// output o; in 4 bits, groups g and g + 4 share bytes as low and high nibbles. The fifth bits of
// all groups share one group of bytes (bit g), the top two of Q6_K's six share two (bits 2 (g % 4)
// of group g / 4). Scales and minima lie per block as 16 lanes each, as wide as in the file.

namespace smore {
namespace {

constexpr size_t kGroupBytes = 4 * kPanel;

struct BlockBytes {
  size_t codes, high, scales;  // per block of 32 columns
  size_t supers;               // per super-block of 256 columns
};

BlockBytes block_bytes(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return {4 * kGroupBytes, 0, 2 * kPanel, 0};
    case DType::kQ4_1:
      return {4 * kGroupBytes, 0, 4 * kPanel, 0};
    case DType::kQ5_0:
      return {4 * kGroupBytes, kGroupBytes, 2 * kPanel, 0};
    case DType::kQ5_1:
      return {4 * kGroupBytes, kGroupBytes, 4 * kPanel, 0};
    case DType::kQ8_0:
      return {8 * kGroupBytes, 0, 2 * kPanel, 0};
    case DType::kQ4_K:
      return {4 * kGroupBytes, 0, 2 * kPanel, 4 * kPanel};
    case DType::kQ5_K:
      return {4 * kGroupBytes, kGroupBytes, 2 * kPanel, 4 * kPanel};
    case DType::kQ6_K:
      return {4 * kGroupBytes, 2 * kGroupBytes, 2 * kPanel, 2 * kPanel};
    default:
      return {};
  }
}

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

Panels layout(DType dtype, int columns, int outs) {
  Panels p{};
  p.dtype = dtype;
  p.columns = columns;
  p.outs = outs;
  if (is_float(dtype)) {
    const size_t width = dtype == DType::kF32 ? 4 : 2;
    p.panel_bytes = round_up(round_up(columns, 2) * kPanel * width, 64);
    return p;
  }
  const BlockBytes bytes = block_bytes(dtype);
  const size_t blocks = columns / kBlock;
  p.high = bytes.codes * blocks;
  p.scales = p.high + bytes.high * blocks;
  p.supers = p.scales + bytes.scales * blocks;
  p.panel_bytes = round_up(p.supers + bytes.supers * (blocks / 8), 64);
  return p;
}

void put_u16(uint8_t* lanes, int lane, uint16_t value) {
  std::memcpy(lanes + 2 * lane, &value, sizeof value);
}

uint16_t get_u16(const uint8_t* lanes, int lane) {
  uint16_t value;
  std::memcpy(&value, lanes + 2 * lane, sizeof value);
  return value;
}

void put_codes(const Panels& p, uint8_t* panel, int64_t block, int lane, const uint8_t* codes) {
  const BlockBytes bytes = block_bytes(p.dtype);
  uint8_t* to = panel + block * bytes.codes + 4 * lane;
  uint8_t* high = panel + p.high + block * bytes.high + 4 * lane;
  for (int i = 0; i < kBlock; ++i) {
    const int group = i / 4;
    const int byte = i % 4;
    if (p.dtype == DType::kQ8_0) {
      to[group * kGroupBytes + byte] = codes[i];
      continue;
    }
    to[group % 4 * kGroupBytes + byte] |= (codes[i] & 15) << (group / 4 * 4);
    if (bytes.high == kGroupBytes) high[byte] |= codes[i] >> 4 << group;
    if (bytes.high == 2 * kGroupBytes) {
      high[group / 4 * kGroupBytes + byte] |= codes[i] >> 4 << (2 * (group % 4));
    }
  }
}

uint8_t get_code(const Panels& p, const uint8_t* panel, int64_t block, int lane, int i) {
  const BlockBytes bytes = block_bytes(p.dtype);
  const uint8_t* from = panel + block * bytes.codes + 4 * lane;
  const uint8_t* high = panel + p.high + block * bytes.high + 4 * lane;
  const int group = i / 4;
  const int byte = i % 4;
  if (p.dtype == DType::kQ8_0) return from[group * kGroupBytes + byte];
  int code = from[group % 4 * kGroupBytes + byte] >> (group / 4 * 4) & 15;
  if (bytes.high == kGroupBytes) code |= (high[byte] >> group & 1) << 4;
  if (bytes.high == 2 * kGroupBytes) {
    code |= (high[group / 4 * kGroupBytes + byte] >> (2 * (group % 4)) & 3) << 4;
  }
  return static_cast<uint8_t>(code);
}

void put_scales(const Panels& p, uint8_t* panel, int64_t block, int lane, const SourceBlock& from) {
  const BlockBytes bytes = block_bytes(p.dtype);
  uint8_t* scales = panel + p.scales + block * bytes.scales;
  if (bytes.supers == 0) {
    put_u16(scales, lane, from.scale);
    if (bytes.scales == 4 * kPanel) put_u16(scales + 2 * kPanel, lane, from.minimum);
    return;
  }
  uint8_t* supers = panel + p.supers + block / 8 * bytes.supers;
  put_u16(supers, lane, from.scale);
  if (bytes.supers == 4 * kPanel) put_u16(supers + 2 * kPanel, lane, from.minimum);
  scales[lane] = from.small[0];
  scales[kPanel + lane] = from.small[1];
}

struct Scales {
  float scale[2];  // of each half of the block
  float minimum;
};

Scales get_scales(const Panels& p, const uint8_t* panel, int64_t block, int lane) {
  const BlockBytes bytes = block_bytes(p.dtype);
  const uint8_t* scales = panel + p.scales + block * bytes.scales;
  if (bytes.supers == 0) {
    const float scale = half_to_float(get_u16(scales, lane));
    const bool minimum = bytes.scales == 4 * kPanel;
    return {{scale, scale}, minimum ? half_to_float(get_u16(scales + 2 * kPanel, lane)) : 0};
  }
  const uint8_t* supers = panel + p.supers + block / 8 * bytes.supers;
  const float super = half_to_float(get_u16(supers, lane));
  if (p.dtype == DType::kQ6_K) {
    return {{super * static_cast<int8_t>(scales[lane]),
             super * static_cast<int8_t>(scales[kPanel + lane])},
            0};
  }
  const float scale = super * scales[lane];
  return {{scale, scale},
          -half_to_float(get_u16(supers + 2 * kPanel, lane)) * scales[kPanel + lane]};
}

int code_value(DType dtype, uint8_t code) {
  switch (dtype) {
    case DType::kQ4_0:
      return code - 8;
    case DType::kQ5_0:
      return code - 16;
    case DType::kQ6_K:
      return code - 32;
    case DType::kQ8_0:
      return static_cast<int8_t>(code);
    default:
      return code;
  }
}

void pack_float_row(const Panels& p, const uint8_t* row, int lane, uint8_t* panel) {
  const size_t width = p.dtype == DType::kF32 ? 4 : 2;
  for (int64_t i = 0; i < p.columns; ++i) {
    const int64_t at =
        p.dtype == DType::kBF16 ? (i / 2 * kPanel + lane) * 2 + i % 2 : i * kPanel + lane;
    std::memcpy(panel + at * width, row + i * width, width);
  }
}

void pack_panel(const MatrixSource& source, const Panels& p, int64_t index, uint8_t* panel) {
  std::memset(panel, 0, p.panel_bytes);
  const size_t stride = row_bytes(p.dtype, p.columns);
  for (int lane = 0; lane < kPanel && index * kPanel + lane < p.outs; ++lane) {
    const uint8_t* row = static_cast<const uint8_t*>(source.tensor.data) +
                         source_row(source, index * kPanel + lane) * stride;
    if (is_float(p.dtype)) {
      pack_float_row(p, row, lane, panel);
      continue;
    }
    for (int64_t block = 0; block < p.columns / kBlock; ++block) {
      const SourceBlock from = read_block(p.dtype, row, block);
      put_codes(p, panel, block, lane, from.codes);
      put_scales(p, panel, block, lane, from);
    }
  }
}

}  // namespace

PackedMatrix::PackedMatrix(std::span<const MatrixSource> sources, HugeArena& arena,
                           ThreadPool& threads) {
  columns_ = sources[0].tensor.shape[1];
  for (const MatrixSource& source : sources) {
    check_matrix_source(source, columns_);
    const int outs = static_cast<int>(source.tensor.shape[0]);
    Panels panels = layout(source.tensor.dtype, static_cast<int>(columns_), outs);
    const int64_t count = (outs + kPanel - 1) / kPanel;
    data_.push_back(arena.take(count * panels.panel_bytes));
    uint8_t* data = data_.back().get();
    panels.data = data;
    threads.for_each(count, [&](int64_t index) {
      pack_panel(source, panels, index, data + index * panels.panel_bytes);
    });
    parts_.push_back({panels, static_cast<int>(rows_)});
    rows_ += outs;
    bytes_ += count * panels.panel_bytes;
  }
}

void PackedMatrix::unpack_row(int64_t row, float* values) const {
  size_t index = 0;
  while (row >= parts_[index].first_out + parts_[index].panels.outs) ++index;
  const Panels& p = parts_[index].panels;
  const int64_t out = row - parts_[index].first_out;
  const uint8_t* panel = p.data + out / kPanel * p.panel_bytes;
  const int lane = static_cast<int>(out % kPanel);
  if (is_float(p.dtype)) {
    for (int64_t i = 0; i < p.columns; ++i) {
      const int64_t at =
          p.dtype == DType::kBF16 ? (i / 2 * kPanel + lane) * 2 + i % 2 : i * kPanel + lane;
      to_float(p.dtype, panel + at * (p.dtype == DType::kF32 ? 4 : 2), 1, values + i);
    }
    return;
  }
  for (int64_t block = 0; block < p.columns / kBlock; ++block) {
    const Scales scales = get_scales(p, panel, block, lane);
    for (int i = 0; i < kBlock; ++i) {
      const int code = code_value(p.dtype, get_code(p, panel, block, lane, i));
      values[block * kBlock + i] = scales.scale[i / 16] * static_cast<float>(code) + scales.minimum;
    }
  }
}

}  // namespace smore
