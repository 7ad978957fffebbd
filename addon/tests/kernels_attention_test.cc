#include <algorithm>
#include <numeric>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/kv_cache.h"
#include "backends/cpu/reference.h"
#include "core/error.h"
#include "kernel_cases.h"

namespace smore {
namespace {

using kernel_cases::backend;
using kernel_cases::check_close;
using kernel_cases::for_each_backend;
using kernel_cases::random_floats;
using kernel_cases::written;

// More than is attended at once anywhere.
constexpr int kLongest = 300;

// Sequences of a step with pages dealt out in no particular order.
struct Step {
  std::vector<int32_t> row_start{0}, row_sequence, context, block_start{0}, blocks, positions;

  AttentionStep view() const {
    return {.rows = row_start.back(),
            .sequences = static_cast<int>(context.size()),
            .row_start = row_start.data(),
            .row_sequence = row_sequence.data(),
            .context = context.data(),
            .block_start = block_start.data(),
            .blocks = blocks.data(),
            .positions = positions.data()};
  }

  void add(int first, int rows, const std::vector<int32_t>& pages) {
    for (int i = 0; i < rows; ++i) {
      row_sequence.push_back(static_cast<int32_t>(context.size()));
      positions.push_back(first + i);
    }
    context.push_back(first);
    row_start.push_back(row_start.back() + rows);
    const int used = (first + rows + kPageTokens - 1) / kPageTokens;
    blocks.insert(blocks.end(), pages.begin(), pages.begin() + used);
    block_start.push_back(static_cast<int32_t>(blocks.size()));
  }
};

struct Case {
  AttentionShape shape;
  ModelConfig config;
  bool norms = false;
};

Case make_case(int heads, int kv_heads, int head_dim, float softcap, int window, bool norms) {
  Case c;
  c.shape = {heads, kv_heads, head_dim, 1 / std::sqrt(float(head_dim)), softcap, window};
  c.config.head_dim = head_dim;
  c.config.rope_theta = 10000;
  c.norms = norms;
  return c;
}

std::vector<Case> cases(const std::string& path, ActivationType activations) {
  std::vector<Case> all{make_case(9, 3, 64, 0, 0, false),    make_case(2, 2, 10, 0, 0, true),
                        make_case(4, 2, 32, 20, 21, false),  make_case(20, 1, 24, 0, 5, false),
                        make_case(8, 2, 64, 20, 37, false),  make_case(3, 3, 96, 0, 0, true),
                        make_case(4, 1, 128, 0, 270, false), make_case(20, 1, 64, 0, 0, false)};
  all[1].config.rope_scaling = {RopeScalingKind::kLinear, 4, 1, 4, 0};
  all[2].config.rope_scaling = {RopeScalingKind::kLlama3, 8, 1, 4, 64};
  all[3].config.rope_factors = random_floats(12, *std::make_unique<std::mt19937>(1));
  for (float& factor : all[3].config.rope_factors) factor = 1 + std::abs(factor);
  // The others are for tensor cores.
  if (path == kernel_cases::kCuda && activations == ActivationType::kFloat32) all.resize(4);
  return all;
}

struct Sequence {
  int length;
  std::vector<float> qkv;  // length, (H + 2 K) d
  std::vector<int32_t> pages;
  int shared = 0;  // first rows, which another computes: the first sequence, into the same pages
};

// Runs rotate_and_store and attention over the sequences, cut into steps of random sizes.
std::vector<std::vector<float>> run(Backend& ops, const Case& c,
                                    const std::vector<Sequence>& sequences, const float* q_norm,
                                    const float* k_norm, int most_rows, std::mt19937& random) {
  const int d = c.shape.head_dim;
  const int width = (c.shape.heads + 2 * c.shape.kv_heads) * d;
  const auto rotary = ops.make_rotary(c.config, kLongest);
  const auto kv = ops.make_kv_cache(2, c.shape, 64);
  CHECK(kv->pages() == 64);
  // A page comes with what its last owner left there: here NaN in every type, as is all fresh
  // memory of the emulated device.
  if (const auto* own = dynamic_cast<const CpuKvCache*>(kv.get())) {
    std::memset(own->keys(0, 0, 0), 0xff, kv->page_bytes() * 64);
  }
  const Buffer q_weights = q_norm ? ops.place({q_norm, size_t(d)}) : Buffer();
  const Buffer k_weights = k_norm ? ops.place({k_norm, size_t(d)}) : Buffer();
  std::vector<std::vector<float>> results(sequences.size());
  std::vector<int> done;
  for (const Sequence& sequence : sequences) done.push_back(sequence.shared);
  for (bool left = true; left;) {
    Step step;
    std::vector<float> qkv;
    std::vector<std::pair<size_t, int>> order;
    left = false;
    for (size_t s = 0; s < sequences.size(); ++s) {
      const int rows = std::min<int>(sequences[s].length - done[s], 1 + random() % most_rows);
      if (rows > 0) left = true;
      if (done[0] < sequences[s].shared) continue;
      step.add(done[s], rows, sequences[s].pages);
      const auto first = sequences[s].qkv.begin() + done[s] * width;
      qkv.insert(qkv.end(), first, first + rows * width);
      order.emplace_back(s, rows);
      done[s] += rows;
    }
    if (!left) break;
    AttentionStep view = step.view();
    AttentionStep* const steps[] = {&view};
    ops.begin(steps);
    const Buffer rows = ops.place(qkv);
    ops.rotate_and_store(*kv, 1, c.shape, *rotary, view, q_weights.get(), k_weights.get(), 1e-6f,
                         rows.get());
    const std::vector<float> y =
        written(ops, size_t(view.rows) * c.shape.heads * d,
                [&](float* to) { ops.attention(*kv, 1, c.shape, view, rows.get(), to); });
    auto from = y.begin();
    for (auto [s, rows] : order) {
      const auto end = from + rows * c.shape.heads * d;
      results[s].insert(results[s].end(), from, end);
      from = end;
    }
  }
  return results;
}

std::vector<Sequence> sequences_of(const Case& c, const std::vector<int>& lengths,
                                   std::mt19937& random) {
  const int width = (c.shape.heads + 2 * c.shape.kv_heads) * c.shape.head_dim;
  std::vector<int32_t> pages(64);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), random);
  std::vector<Sequence> sequences;
  int next = 0;
  for (int length : lengths) {
    const int used = (length + kPageTokens - 1) / kPageTokens;
    sequences.push_back({length,
                         random_floats(size_t(length) * width, random),
                         {pages.begin() + next, pages.begin() + next + used}});
    next += used;
  }
  return sequences;
}

std::vector<Sequence> random_sequences(const Case& c, const std::string& path,
                                       std::mt19937& random) {
  if (path == kernel_cases::kCuda) return sequences_of(c, {17, 33, kLongest}, random);
  return sequences_of(c, {1, 16, 17, 75, kLongest}, random);
}

std::vector<double> expected_rows(const Case& c, const Sequence& sequence, const float* q_norm,
                                  const float* k_norm) {
  const int d = c.shape.head_dim;
  const int heads = c.shape.heads + 2 * c.shape.kv_heads;
  std::vector<std::vector<double>> rows(heads);  // of each head: length, d
  for (int t = 0; t < sequence.length; ++t) {
    for (int head = 0; head < heads; ++head) {
      const float* from = &sequence.qkv[(t * heads + head) * d];
      std::vector<double> x(from, from + d);
      if (head < c.shape.heads + c.shape.kv_heads) {
        const float* norm = head < c.shape.heads ? q_norm : k_norm;
        if (norm) reference::rms_norm(from, norm, d, 1e-6f, x.data());
        reference::rotate(x.data(), d, t, c.config);
      }
      rows[head].insert(rows[head].end(), x.begin(), x.end());
    }
  }
  std::vector<double> y;
  for (int t = 0; t < sequence.length; ++t) {
    for (int head = 0; head < c.shape.heads; ++head) {
      const int kv_head = c.shape.heads + head / (c.shape.heads / c.shape.kv_heads);
      const std::vector<double> q(rows[head].begin() + t * d, rows[head].begin() + (t + 1) * d);
      const auto out =
          reference::attend(q, rows[kv_head], rows[kv_head + c.shape.kv_heads], t + 1, c.shape);
      y.insert(y.end(), out.begin(), out.end());
    }
  }
  return y;
}

// What rounding of keys, values, queries and weights may do, as a share of a result's size.
double tolerance(const std::string& path, ActivationType activations) {
  if (activations == ActivationType::kFloat32) return 2e-6;
  if (path == kernel_cases::kCuda) return 2e-3;                                 // 2^-9
  return find_kernels(path).attention->stored == DType::kBF16 ? 7.8e-3 : 2e-3;  // 2^-7, 2^-9
}

TEST_CASE(
    "paged attention equals the reference: heads sharing keys, window, soft cap, norms, rope "
    "scaling") {
  std::mt19937 random(21);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    for (const Case& c : cases(path, activations)) {
      CAPTURE(c.shape.heads);
      const std::vector<float> q_norm = random_floats(c.shape.head_dim, random);
      const std::vector<float> k_norm = random_floats(c.shape.head_dim, random);
      const std::vector<Sequence> sequences = random_sequences(c, path, random);
      const auto y = run(*ops, c, sequences, c.norms ? q_norm.data() : nullptr,
                         c.norms ? k_norm.data() : nullptr, 40, random);
      for (size_t s = 0; s < sequences.size(); ++s) {
        const auto expected = expected_rows(c, sequences[s], c.norms ? q_norm.data() : nullptr,
                                            c.norms ? k_norm.data() : nullptr);
        check_close(
            y[s], expected, [](size_t) { return 3.0; }, tolerance(path, activations));
      }
    }
  });
}

TEST_CASE("attention of a row has the same bits whatever the chunking") {
  std::mt19937 random(22);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations, 3);
    for (const Case& c : cases(path, activations)) {
      const std::vector<Sequence> sequences = random_sequences(c, path, random);
      const auto rows_alone = run(*ops, c, sequences, nullptr, nullptr, 1, random);
      // On the emulated device, steps of few rows have blocks for each span.
      const int most_rows = path == kernel_cases::kCuda ? 3 : 50;
      const auto chunks = run(*ops, c, sequences, nullptr, nullptr, most_rows, random);
      CHECK(rows_alone == chunks);
      constexpr int kWhole = 1 << 20;  // nearly always
      const auto whole = run(*ops, c, sequences, nullptr, nullptr, kWhole, random);
      CHECK(rows_alone == whole);
    }
  });
}

TEST_CASE("attention of a row has the same bits among many sequences, some of which have no rows") {
  std::mt19937 random(25);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations, 3);
    const Case c = make_case(6, 2, 64, 0, 0, false);
    std::vector<int> lengths(40);  // more than a warp has lanes
    for (int& length : lengths) length = static_cast<int>(random() % 7);
    lengths[3] = lengths[36] = 150;
    const std::vector<Sequence> sequences = sequences_of(c, lengths, random);
    constexpr int kWhole = 1 << 20;
    const auto whole = run(*ops, c, sequences, nullptr, nullptr, kWhole, random);
    CHECK(run(*ops, c, sequences, nullptr, nullptr, 4, random) == whole);
    for (const size_t s : {3, 17, 36, 39}) {
      const auto alone = run(*ops, c, {sequences[s]}, nullptr, nullptr, kWhole, random);
      CHECK(alone[0] == whole[s]);
    }
  });
}

TEST_CASE("sequences that share pages get the bits of one that has them alone") {
  constexpr int kShared = 3 * kPageTokens;
  std::mt19937 random(23);
  for_each_backend([&](const std::string& path, ActivationType activations) {
    const auto ops = backend(path, activations);
    const Case c = make_case(8, 2, 64, 0, 0, false);
    std::vector<Sequence> sequences = random_sequences(c, path, random);
    std::swap(sequences.front(), sequences.back());
    sequences.resize(2);
    Sequence& other = sequences[1];
    const Sequence& first = sequences[0];
    other = {first.length, first.qkv, {first.pages.begin(), first.pages.begin() + 3}, kShared};
    for (int32_t page = 0; static_cast<int>(other.pages.size()) * kPageTokens < other.length;
         ++page) {
      if (std::find(first.pages.begin(), first.pages.end(), page) == first.pages.end()) {
        other.pages.push_back(page);
      }
    }
    for (const int most_rows : {1, 40, 1 << 20}) {
      const auto y = run(*ops, c, sequences, nullptr, nullptr, most_rows, random);
      const auto from = y[0].begin() + kShared * c.shape.heads * c.shape.head_dim;
      CHECK(std::vector<float>(from, y[0].end()) == y[1]);
    }
  });
}

TEST_CASE("on a GPU values that are not finite reach no row that does not see them") {
  constexpr int kLength = 70, kBroken = 41;
  std::mt19937 random(24);
  if (cuda_devices().usable.empty()) return;
  for (ActivationType activations : {ActivationType::kDigits, ActivationType::kFloat32}) {
    CAPTURE(activations);
    const auto ops = backend(kernel_cases::kCuda, activations);
    const Case c = make_case(4, 2, 64, 0, 25, false);
    const int d = c.shape.head_dim, width = 8 * d;
    std::vector<Sequence> sequences{
        {kLength, random_floats(size_t(kLength) * width, random), {4, 1, 9, 3, 7}}};
    const auto whole = run(*ops, c, sequences, nullptr, nullptr, 1 << 20, random);
    for (const float value : {INFINITY, NAN}) {
      sequences[0].qkv[kBroken * width + 6 * d + 5] = value;  // of the first two heads
      const auto y = run(*ops, c, sequences, nullptr, nullptr, 1 << 20, random);
      for (int t = 0; t < kLength; ++t) {
        for (int head = 0; head < 4; ++head) {
          CAPTURE(t);
          CAPTURE(head);
          const auto at = (t * 4 + head) * d;
          const bool sees = head < 2 && t >= kBroken && t < kBroken + c.shape.window;
          if (sees) {
            CHECK(!std::isfinite(y[0][at + 5]));
          } else {
            CHECK(std::equal(&y[0][at], &y[0][at] + d, &whole[0][at]));
          }
        }
      }
    }
  }
}

TEST_CASE("a head dimension that the kernels cannot hold is refused") {
  const auto ops = backend("generic", ActivationType::kFloat32);
  CHECK_THROWS_AS(ops->make_kv_cache(1, {1, 1, 258, 1, 0, 0}, 1), Error);
  CHECK_THROWS_AS(ops->make_kv_cache(1, {1, 1, 7, 1, 0, 0}, 1), Error);
}

}  // namespace
}  // namespace smore
