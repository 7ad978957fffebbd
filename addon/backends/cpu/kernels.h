#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/backend.h"
#include "core/dtype.h"

// What the kernel files of all instruction sets share: plain structs and one table of functions. A
// kernel file is compiled for its own instruction set, so nothing here may have inline code: the
// linker would keep one copy of it, and that one might need AVX-512.

namespace smore {

// Outputs in one panel of a packed matrix: the lanes of its kernels.
inline constexpr int kPanel = 16;
// Inputs that share one scale of an activation row in integers.
inline constexpr int kBlock = 32;
// Inputs whose codes lie in one lane.
inline constexpr int kGroup = 4;
// A group of an activation row is loud when its largest value is at least so many times the mean
// magnitude of the row. Loud groups have two digits: an integer is high * 2^kDigitBits + low, of
// which low has one bit less than fits.
inline constexpr float kLoudFrom = 6;
inline constexpr int kDigitBits = 7;
// Queries that walk over the pages of one KV head together.
inline constexpr int kQueryTile = 48;
inline constexpr int kMaxHeadDim = 256;

// Rows of one type, packed in panels of kPanel outputs. A panel is contiguous: codes, high bits,
// scales, super-block scales, each block after block (see pack.cc for the bits).
struct Panels {
  const uint8_t* data;
  size_t panel_bytes;
  size_t high;  // offsets within a panel
  size_t scales;
  size_t supers;
  DType dtype;
  int columns;
  int outs;  // outputs of these panels; the lanes beyond are zero
};

// One block of integers q of an activation row. Where there are two digits, the scale is that of
// the groups that are not loud, so that a few large values cost the others no precision.
struct BlockScale {
  float scale;                 // x = scale * q; NaN when the block holds a value that is not finite
  float scaled_sum;            // scale * sum of q
  int32_t minus_8_sum;         // -8 * sum of q: undoes offsets of unsigned codes exactly
  int32_t minus_8_first_half;  // of the first 16 values
};

// Activation rows as blocks of integers, in tiles of the rows that a kernel takes at a time: as
// many tiles of its largest size as there are, then smaller ones. A tile of n rows from row r on
// begins at code r * columns and lies as [blocks][kBlock / kGroup][n][kGroup] or as its kernel
// wants it, its scales as [blocks][n], so that a kernel finds everything at fixed distances from
// one pointer.
//
// Groups that are loud in any row of a tile have high digits in all of its rows, in those where
// they are not loud zeros: loud channels are much the same in all rows, and zeros change no sum.
// They lie one after the other as [n][kGroup].
struct QuantRows {
  int8_t* codes;  // low digits
  BlockScale* scales;
  int8_t* high;          // of a tile: from r * columns on
  uint8_t* high_groups;  // of a tile: which groups of their blocks, from r * columns / kGroup on
  int32_t* high_end;  // of a tile: [blocks] from r * blocks on, past the block's last high digits
  int columns;
  bool digits;  // two; otherwise no group is loud
};

// Ranges of rows that are multiplied apart begin at multiples of this, those that are quantised or
// rounded apart at multiples of their kernels' own unit, which divides it.
inline constexpr int kRowUnit = 16;

// A rectangle of the result: panels [panel_begin, panel_end) of every row.
struct ProductTarget {
  float* y;  // column 0 of the panels' first output
  int64_t y_stride;
  const float* bias;  // likewise; or null
  int panel_begin;
  int panel_end;
  int row_begin;
  int row_end;
};

// Queries of one KV head over the pages of their sequence.
struct AttentionTile {
  const uint8_t* keys;    // of page 0 at this layer and head: [d][kPageTokens] (see kv_cache.h)
  const uint8_t* values;  // likewise: [kPageTokens][padded d]
  size_t page_stride;     // bytes between pages
  const int32_t* pages;   // of the sequence
  int head_dim;
  int padded_dim;  // head_dim rounded up to kPanel
  float query_scale;
  float softcap;  // 0 = none
  int window;     // 0 = all positions
  int queries;    // at most kQueryTile
  const float* q[kQueryTile];
  float* y[kQueryTile];
  int position[kQueryTile];  // rising
};

// Keys and values of one type in pages, and attention over them.
struct AttentionKernels {
  DType stored;
  // Puts a token's key and value of one head, [d] each, into slot `slot` of a page, the value
  // followed by zeros up to padded d. Touches no other slot's bytes.
  void (*store)(const float* key, const float* value, int head_dim, int padded_dim, int slot,
                uint8_t* keys, uint8_t* values);
  void (*attend)(const AttentionTile& tile);
};

// Rows of unpacked weights (see dense.h).
struct DenseTile {
  const void* w;
  DType dtype;
  const float* scales;
  bool panels;
  int out;
  int in;
  const float* bias;
  const float* x;
  const uint16_t* rounded;
  const int16_t* integers;
  const float* x_scales;
  int64_t x_stride;
  const int32_t* x_rows;
  int rows;
  float* y;
  int64_t y_stride;
  const int32_t* y_rows;
  float scale;
  bool accumulate;
};

// Four floats in the compiler's own terms, the same on every instruction set.
typedef float Quad __attribute__((vector_size(16)));

// Products of weights and activations in bfloat16, pairs of which are multiplied at once and summed
// as float32. Activations lie in tiles as those of QuantRows do, [columns / 2][n][2], an odd last
// column followed by 0.
struct Bf16Kernels {
  int row_unit;
  // Rows [row_begin, row_end) of a step, which lie from x on.
  void (*round)(const float* x, int columns, int row_begin, int row_end, uint16_t* values);
  void (*product)(const Panels& w, const uint16_t* x, const ProductTarget& target);
  // One row, followed by 0 up to an even number of columns, and products of such rows.
  void (*round_row)(const float* x, int columns, uint16_t* values);
  void (*dense)(const DenseTile& tile);
};

// Products of codes and activations as integers of 16 bits, which are exact.
struct CodeKernels {
  // values[k] = round(x[k] / scale), at most `largest` in magnitude, followed by 0 up to an even
  // number of columns. The scale is NaN when a value is not finite.
  void (*round_row)(const float* x, int columns, int largest, int16_t* values, float* scale);
  void (*dense)(const DenseTile& tile);
};

// Activations as blocks of integers and their products with quantised panels: exact in a block,
// then one float32 order over the blocks.
struct IntegerKernels {
  int row_unit;
  // Rows [row_begin, row_end) of a step, which lie from x on, into `rows`.
  void (*quantize)(const float* x, int row_begin, int row_end, const QuantRows& rows);
  void (*product)(const Panels& w, const QuantRows& x, const ProductTarget& target);
  // Does as many products as the processor can; returns how many operations that were.
  int64_t (*exercise)(int64_t rounds);
};

// One instruction set's functions. All sums have one order per result, whatever the tile.
struct CpuKernels {
  const char* name;

  const IntegerKernels* integer;
  void (*float_product)(const Panels& w, const float* x, int64_t x_stride,
                        const ProductTarget& target);
  const Bf16Kernels* bf16;   // null where such weights are unpacked to float
  const CodeKernels* codes;  // null where codes are unpacked to float
  void (*dense)(const DenseTile& tile);

  int64_t (*exercise)(int64_t rounds);  // as that of IntegerKernels, of float32

  void (*rms_norm)(const float* x, const float* weight, int width, float eps, float* y);
  void (*rotate)(float* x, const float* cosines, const float* sines, int half_dim);
  const AttentionKernels* attention;        // pages of 16 bits a number
  const AttentionKernels* float_attention;  // pages of float32
  void (*gated_activation)(Activation activation, const float* gate, const float* up, int64_t count,
                           float* y);
  void (*add)(float* x, const float* y, int64_t count);
  void (*softcap)(float cap, float* x, int64_t count);
  // That of sampling/softmax.h, to the bit.
  uint64_t (*weight_sum)(const float* logits, int64_t count, float max, float scale);
};

// The tables that this build has and this machine can run, best first.
struct KernelList {
  const CpuKernels* const* tables;
  size_t count;
};
KernelList machine_kernels();

extern const CpuKernels kGenericKernels;

}  // namespace smore
