#pragma once

#include "backends/cuda/trees_plan.h"
#include "backends/cuda/warp.h"
#include "device.h"

// Products with the small matrices of adapters, in the layouts of the host tier: panels of 16
// outputs (DenseProduct::panels), where a lane has an output, or rows, over which lanes share. Each
// sum has one order, whatever rows are multiplied beside it: fused multiply-adds are spelt out, so
// that every number of rows is compiled to the same ones.

namespace smore::cuda {

inline constexpr int kPanel = 16;

template <Form kForm>
__device__ inline float value_at(const std::byte* data, int64_t index) {
  if constexpr (kForm == Form::kF32) return reinterpret_cast<const float*>(data)[index];
  if constexpr (kForm == Form::kI8) return reinterpret_cast<const int8_t*>(data)[index];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(data)[index];
  if constexpr (kForm == Form::kF16) return half_bits_to_float(bits);
  return __uint_as_float(unsigned{bits} << 16);
}

// One output of a matrix in panels.
template <Form kForm>
class PanelOutput {
 public:
  __device__ PanelOutput(const std::byte* data, int in, int out)
      : data_(data),
        first_(int64_t{out / kPanel} * kPanel * (kPaired ? (in + 1) / 2 * 2 : in) +
               out % kPanel * (kPaired ? 2 : 1)) {}

  __device__ float at(int k) const { return value_at<kForm>(data_, index(k)); }
  // Columns k and k + 1 of an even k.
  __device__ float2 two(int k) const {
    if constexpr (kForm == Form::kBF16) {
      const unsigned bits = *reinterpret_cast<const unsigned*>(data_ + index(k) * 2);
      return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
    }
    return make_float2(at(k), at(k + 1));
  }

 private:
  static constexpr bool kPaired = kForm == Form::kBF16 || kForm == Form::kI8;

  __device__ int64_t index(int k) const {
    if constexpr (kPaired) return first_ + int64_t{k / 2} * 2 * kPanel + k % 2;
    return first_ + int64_t{k} * kPanel;
  }

  const std::byte* data_;
  int64_t first_;
};

// sum[i] += W[out, k:] x[i][k:] of kPairs pairs of columns. All of the weights are read before the
// first is used: else each pair would take as long as memory takes to answer.
template <int kPairs, class W, int kRows>
__device__ __forceinline__ void add_pairs(const W& w, int k, const float* const (&x)[kRows],
                                          float (&sum)[kRows]) {
  float2 two[kPairs];
#pragma unroll
  for (int j = 0; j < kPairs; ++j) two[j] = w.two(k + 2 * j);
#pragma unroll
  for (int j = 0; j < kPairs; ++j) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float* at = x[i] + k + 2 * j;
      sum[i] = fmaf(two[j].y, at[1], fmaf(two[j].x, at[0], sum[i]));
    }
  }
}

// sum[i] += W[out, from:to] x[i][from:to]; `from` is even.
template <Form kForm, int kRows>
__device__ inline void panel_sums(const std::byte* data, int in, int out,
                                  const float* const (&x)[kRows], int from, int to,
                                  float (&sum)[kRows]) {
  constexpr int kMany = kRows == 1 ? 16 : 8, kSome = 4;
  const PanelOutput<kForm> w(data, in, out);
  int k = from;
  for (; k + 2 * kMany <= to; k += 2 * kMany) add_pairs<kMany>(w, k, x, sum);
#pragma unroll 1
  for (; k + 2 * kSome <= to; k += 2 * kSome) add_pairs<kSome>(w, k, x, sum);
#pragma unroll 1
  for (; k + 1 < to; k += 2) add_pairs<1>(w, k, x, sum);
  if (k >= to) return;
  const float last = w.at(k);
  for (int i = 0; i < kRows; ++i) sum[i] = fmaf(last, x[i][k], sum[i]);
}

template <int kRows>
__device__ inline void add_panel_sums(const std::byte* block, const BlockSlot& w, int in, int out,
                                      const float* const (&x)[kRows], int from, int to,
                                      float (&sum)[kRows]) {
  const std::byte* data = block + w.offset;
  switch (w.form) {
    case Form::kF32:
      return panel_sums<Form::kF32>(data, in, out, x, from, to, sum);
    case Form::kF16:
      return panel_sums<Form::kF16>(data, in, out, x, from, to, sum);
    case Form::kBF16:
      return panel_sums<Form::kBF16>(data, in, out, x, from, to, sum);
    case Form::kI8:
      return panel_sums<Form::kI8>(data, in, out, x, from, to, sum);
  }
}

// Four columns of a row, of whose width four is a divisor.
template <Form kForm>
__device__ inline float4 four_values(const std::byte* row, int k) {
  if constexpr (kForm == Form::kF32) return *reinterpret_cast<const float4*>(row + k * 4);
  if constexpr (kForm == Form::kI8) {
    const unsigned bits = *reinterpret_cast<const unsigned*>(row + k);
    return make_float4(static_cast<int8_t>(bits), static_cast<int8_t>(bits >> 8),
                       static_cast<int8_t>(bits >> 16), static_cast<int8_t>(bits >> 24));
  }
  const uint2 bits = *reinterpret_cast<const uint2*>(row + k * 2);
  if constexpr (kForm == Form::kF16) {
    return make_float4(half_bits_to_float(static_cast<uint16_t>(bits.x)),
                       half_bits_to_float(static_cast<uint16_t>(bits.x >> 16)),
                       half_bits_to_float(static_cast<uint16_t>(bits.y)),
                       half_bits_to_float(static_cast<uint16_t>(bits.y >> 16)));
  }
  return make_float4(__uint_as_float(bits.x << 16), __uint_as_float(bits.x & 0xffff0000u),
                     __uint_as_float(bits.y << 16), __uint_as_float(bits.y & 0xffff0000u));
}

// sum[i] = W[out] x[i] of a matrix in rows, for every lane of the warp.
template <Form kForm, int kRows>
__device__ inline void row_sums(const std::byte* row, int in, const float* const (&x)[kRows],
                                float (&sum)[kRows]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (in % 4 == 0) {
    for (int k = 4 * lane; k < in; k += 4 * kWarpSize) {
      const float4 w = four_values<kForm>(row, k);
      for (int i = 0; i < kRows; ++i) {
        const float4 v = *reinterpret_cast<const float4*>(x[i] + k);
        sum[i] = fmaf(w.w, v.w, fmaf(w.z, v.z, fmaf(w.y, v.y, fmaf(w.x, v.x, sum[i]))));
      }
    }
  } else {
    for (int k = lane; k < in; k += kWarpSize) {
      const float w = value_at<kForm>(row, k);
      for (int i = 0; i < kRows; ++i) sum[i] = fmaf(w, x[i][k], sum[i]);
    }
  }
  for (int i = 0; i < kRows; ++i) sum[i] = warp_sum(sum[i]);
}

template <int kRows>
__device__ inline void add_row_sums(const std::byte* block, const BlockSlot& w, int in, int out,
                                    const float* const (&x)[kRows], float (&sum)[kRows]) {
  const std::byte* data = block + w.offset;
  const int64_t first = int64_t{out} * in;
  switch (w.form) {
    case Form::kF32:
      return row_sums<Form::kF32>(data + first * 4, in, x, sum);
    case Form::kF16:
      return row_sums<Form::kF16>(data + first * 2, in, x, sum);
    case Form::kBF16:
      return row_sums<Form::kBF16>(data + first * 2, in, x, sum);
    case Form::kI8: {
      constexpr int kRowUnit = 32;  // code_row_values()
      const int64_t width = (int64_t{in} + kRowUnit - 1) / kRowUnit * kRowUnit;
      return row_sums<Form::kI8>(data + out * width, in, x, sum);
    }
  }
}

__device__ inline float float_at(const std::byte* block, int64_t offset, int64_t index) {
  return reinterpret_cast<const float*>(block + offset)[index];
}

// What a sum of products is multiplied by.
__device__ inline float scale_of(const std::byte* block, const BlockSlot& w, int out) {
  return w.scales == BlockSlot::kNone ? 1.0f : float_at(block, w.scales, out);
}

__device__ inline float bias_of(const std::byte* block, const BlockSlot& bias, int out) {
  return bias.offset == BlockSlot::kNone ? 0.0f : float_at(block, bias.offset, out);
}

__device__ inline float activated(const Nonlinearity& activation, float x) {
  switch (activation.curve) {
    case Curve::kIdentity:
      break;
    case Curve::kRelu:
      return x < 0.0f ? 0.0f : x;
    case Curve::kTanh:
      return tanhf(x);
    case Curve::kPrelu:
      return x < 0.0f ? activation.slope * x : x;
  }
  return x;
}

// The work of a block, and which of the work's blocks it is.
struct Mine {
  const Work& work;
  int block;
};

__device__ inline Mine my_work(const Work* works, int count, Stage stage) {
  const int block = static_cast<int>(blockIdx.x) + works[0].first_block[stage];
  int low = 0;
  int high = count;  // the last work that does not begin behind the block is in [low, high)
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (works[middle].first_block[stage] <= block) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return {works[low], block - works[low].first_block[stage]};
}

}  // namespace smore::cuda
