#include "backends/cpu/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "backends/cpu/kernels.h"

namespace smore::reference {

Product matmul(const std::vector<float>& w, int out, int in, const std::vector<float>& x, int rows,
               const float* bias) {
  Product p;
  for (int t = 0; t < rows; ++t) {
    for (int o = 0; o < out; ++o) {
      double sum = bias ? bias[o] : 0;
      double magnitude = std::abs(sum);
      for (int i = 0; i < in; ++i) {
        const double product = double{w[int64_t{o} * in + i]} * x[int64_t{t} * in + i];
        sum += product;
        magnitude += std::abs(product);
      }
      p.y.push_back(sum);
      p.magnitude.push_back(magnitude);
    }
  }
  return p;
}

namespace {

float largest(const float* x, int count) {
  float top = 0;
  for (int i = 0; i < count; ++i) top = std::max(top, std::abs(x[i]));
  return top;
}

}  // namespace

std::vector<bool> loud_groups(const std::vector<float>& x, int columns) {
  std::vector<bool> loud;
  for (size_t row = 0; row < x.size(); row += columns) {
    float sum = 0;
    for (int i = 0; i < columns; ++i) sum += std::abs(x[row + i]);
    for (int i = 0; i < columns; i += kGroup) {
      const float top = largest(&x[row + i], kGroup);
      loud.push_back(top > 0 && std::isfinite(sum) && top >= kLoudFrom * (sum / columns));
    }
  }
  return loud;
}

std::vector<float> through_integers(const std::vector<float>& x, int columns, int digits) {
  const std::vector<bool> loud = loud_groups(x, columns);
  std::vector<float> y(x.size());
  for (size_t block = 0; block < x.size(); block += kBlock) {
    const float top = largest(&x[block], kBlock);
    float quiet_top = 0;
    for (size_t i = block; i < block + kBlock; i += kGroup) {
      if (digits == 1 || !loud[i / kGroup]) quiet_top = std::max(quiet_top, largest(&x[i], kGroup));
    }
    const float most = std::max(quiet_top, top / 127);
    for (size_t i = block; i < block + kBlock; ++i) {
      y[i] = most > 0 ? most / 127 * std::nearbyint(x[i] * (127 / most)) : 0;
    }
  }
  return y;
}

std::vector<float> deinterleave(const std::vector<float>& w, int out, int in, int heads) {
  std::vector<float> y(w.size());
  const int head_dim = out / heads;
  for (int row = 0; row < out; ++row) {
    const int within = row % head_dim;
    const int to = row - within + (within % 2 == 0 ? within / 2 : within / 2 + head_dim / 2);
    std::copy_n(w.begin() + int64_t{row} * in, in, y.begin() + int64_t{to} * in);
  }
  return y;
}

void rms_norm(const float* x, const float* weight, int width, float eps, double* y) {
  double squares = 0;
  for (int i = 0; i < width; ++i) squares += double{x[i]} * x[i];
  // Squares beyond float32 count as infinite: the row overflowed.
  const bool finite = std::isfinite(static_cast<float>(squares));
  const double scale = finite ? 1 / std::sqrt(squares / width + eps) : std::nan("");
  for (int i = 0; i < width; ++i) y[i] = x[i] * scale * weight[i];
}

void rotate(double* x, int head_dim, int position, const ModelConfig& config) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    double frequency = std::pow(double{config.rope_theta}, -2.0 * i / head_dim);
    if (!config.rope_factors.empty()) frequency /= config.rope_factors[i];
    const RopeScaling& s = config.rope_scaling;
    if (s.kind == RopeScalingKind::kLinear) frequency /= s.factor;
    if (s.kind == RopeScalingKind::kLlama3) {
      const double turns = s.original_max_position * frequency / (2 * std::numbers::pi);
      const double keep = std::clamp(
          (turns - s.low_freq_factor) / (double{s.high_freq_factor} - s.low_freq_factor), 0.0, 1.0);
      frequency *= keep + (1 - keep) / s.factor;
    }
    const double c = std::cos(position * frequency);
    const double n = std::sin(position * frequency);
    const double a = x[i];
    const double b = x[i + half];
    x[i] = a * c - b * n;
    x[i + half] = b * c + a * n;
  }
}

double activate(Activation activation, double x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

std::vector<double> attend(const std::vector<double>& q, const std::vector<double>& keys,
                           const std::vector<double>& values, int length,
                           const AttentionShape& shape) {
  const int d = shape.head_dim;
  const int first = shape.window > 0 ? std::max(0, length - shape.window) : 0;
  std::vector<double> weights;
  double most = -INFINITY;
  for (int k = first; k < length; ++k) {
    double score = 0;
    for (int i = 0; i < d; ++i) score += q[i] * keys[int64_t{k} * d + i];
    score *= shape.query_scale;
    if (shape.softcap > 0) score = shape.softcap * std::tanh(score / shape.softcap);
    weights.push_back(score);
    most = std::max(most, score);
  }
  double total = 0;
  for (double& weight : weights) total += weight = std::exp(weight - most);
  std::vector<double> y(d);
  for (int k = first; k < length; ++k) {
    for (int i = 0; i < d; ++i) y[i] += weights[k - first] / total * values[int64_t{k} * d + i];
  }
  return y;
}

}  // namespace smore::reference
