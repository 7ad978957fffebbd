#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "experts/stats.h"
#include "model/config.h"
#include "residual/routing_counts.h"

namespace smore {

// The linears of a decoder layer that an adapter can change, in the order of the graph.
enum class Site : int { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kSites = 7;
const char* linear_name(Site site);  // "gate_proj"

struct AdapterFile;

// A level of an adapter's trees: how many experts it has, how many each of its nodes chooses.
struct TreeLevel {
  int experts = 0;
  int active = 0;
};

struct AdaptedLinear {
  int layer = 0;
  Site site = Site::kQ;
};

// What registration tells about an adapter. [engine.adapters.load -> TypeScript]
struct AdapterInfo {
  std::string kind;  // "smore", "lora"
  int64_t parameters = 0;
  uint64_t bytes = 0;                  // resident size when all of it is loaded
  uint64_t trunk_bytes = 0;            // of these, what is not experts
  int sites = 0;                       // adapted linears
  int pages = 0;                       // experts over all sites
  int levels = 0;                      // L of the largest tree; 1 for plain LoRA
  std::vector<TreeLevel> tree;         // leaves first, the same on every linear; empty = no routers
  std::vector<AdaptedLinear> linears;  // in the order of the graph
};

// How the routers of an adapter behave for some rows.
struct RouterControl {
  float temperature = 1;  // what logits are divided by before a softmax
  // Per level, leaves first: experts that take no part, rising, each once. There may be more levels
  // than the tree's, without any.
  std::vector<std::vector<int32_t>> banned;
};

// Where the routing of a row by one adapter goes: layout in engine/step.h.
struct RouteProbe {
  int32_t row = 0;
  int handle = 0;
  const uint32_t* layers = nullptr;  // bits of the layers that are wanted
  int32_t* experts = nullptr;
  float* scores = nullptr;
};

// The rows of a step that one adapted linear must change, grouped ahead of the layers.
struct AdapterRows {
  struct Group {
    int handle = 0;                          // adapter
    std::vector<int32_t> rows;               // rows of the step, ascending
    float scale = 1;                         // of the delta
    int turn = 0;                            // how many adapters change these rows before this one
    const RouterControl* control = nullptr;  // null = as trained
  };
  // Those of one adapter lie together; empty = the step is base only. No two of one turn have a row
  // in common.
  std::vector<Group> groups;
  std::vector<RouteProbe> probes{};
};

// Where the delta of one linear goes.
struct SiteOutput {
  Site site;
  float* y;        // first of the linear's columns in row 0 of [T, stride]
  int64_t stride;  // floats between rows
};

// What applying adapters took at least.
struct AdapterTraffic {
  double bytes = 0;       // weights, each once a call, and the activations that go in and out
  double operations = 0;  // multiplications and additions of the products
};

// Hears which share (0 to 1) of an adapter's bytes has been checked.
using CheckProgress = std::function<void(double share)>;

// In what experts, W and W_final are kept and multiplied. kInt8: integers of a byte and a scale for
// each output.
enum class ExpertType { kStored, kBf16, kInt8 };

struct AdapterOptions {
  uint64_t memory_budget = 0;  // bytes for everything resident: routers, W, W_final, expert pages
  int max_resident = 0;        // adapters whose trunk may be resident at once
  ExpertType experts = ExpertType::kStored;
  uint64_t device_budget = 0;  // likewise on a device that has memory of its own
};

// All adapters of a server on the CPU tier: registered (open file, validated), resident (trunk in
// memory: routers, projection, W, W_final; experts as pages within the byte budget), in use (pinned
// by a running sequence). Registration, acquisition and release come from the binding's worker
// threads; apply comes from the engine thread alone.
class Adapters {
 public:
  Adapters(const ModelConfig& base, const AdapterOptions& options, Backend& backend);
  ~Adapters();

  // Validates a folder in PEFT layout, and makes it known. Returns its handle (>= 1, never
  // reused). Throws Error(kInvalidAdapter, ...) naming file and tensor.
  int add(const std::string& folder, const CheckProgress& progress = {});
  int add(const AdapterFile& file, const CheckProgress& progress = {});
  AdapterInfo info(int handle) const;

  // Makes the adapter resident (evicting idle ones), prefetches its pages as far as the budget
  // goes, and pins its trunk until release(). Blocks until loaded; single flight. Returns false
  // when every resident adapter is pinned and the budget or max_resident leaves no room: try again
  // later.
  bool acquire(int handle);
  void release(int handle);
  // Whether a step may use it now.
  bool acquired(int handle) const;

  // Forgets the adapter once its last pin is gone.
  void remove(int handle);

  // Throws Error(kInvalidArgument) unless the adapter is acquired, and its trees have the banned
  // experts and enough others. Null = as trained.
  void require_usable(int handle, const RouterControl* control) const;
  // Pairs that a probe of these layers is given.
  int64_t routes(int handle, const uint32_t* layers) const;

  // A step begins and ends (AdapterUse). In between, what is resident of its adapters stays where
  // it is.
  void begin(const AdapterRows& rows);
  void end();

  // Whether the host must wait within the step that has begun for what a device computes of it:
  // where it reads routing out, or not all experts of the step's adapters are there.
  bool waits() const;

  // Within a step, for its groups or some of their rows:
  // y[row, :] += scale * delta of each of the row's adapters, in their turns, at each of these
  // linears of a layer, which all read the same x (q, k and v; gate and up), for every row of every
  // group that adapts it. Fills the probes of this layer. Loads missing pages. x: [T, x_width].
  // Returns handles whose pages could not be read; their rows of y are unspecified.
  std::vector<int> apply(int layer, std::span<const SiteOutput> outputs, const AdapterRows& rows,
                         const float* x, int x_width);
  // As a step of its own.
  std::vector<int> apply(int layer, Site site, const AdapterRows& rows, const float* x, int x_width,
                         float* y, int64_t y_stride);

  // Of all apply() since it was asked last; nothing where the backend does not count it. For the
  // engine's thread.
  AdapterTraffic take_traffic();

  // Where the adapter is and how its pages were used.
  CachePlace place(int handle) const;

  // Adds the kStat* counters of experts to `stats` (an array of kStatCount).
  void stats(double* stats) const;

  // Tokens routed to each expert since registration, summed over layers and sites:
  // [level][expert], levels from leaf to root.
  std::vector<std::vector<uint64_t>> routing(int handle) const;
  // The same for each linear, in the order of AdapterInfo::linears; empty where the backend counts
  // no linear by itself.
  LinearRouting routing_by_linear(int handle) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The adapters of a step in use, from before its first apply() to after its last.
class AdapterUse {
 public:
  AdapterUse(Adapters& adapters, const AdapterRows& rows) : adapters_(adapters) {
    try {
      adapters_.begin(rows);
    } catch (...) {
      adapters_.end();
      throw;
    }
  }
  ~AdapterUse() { adapters_.end(); }
  AdapterUse(const AdapterUse&) = delete;
  AdapterUse& operator=(const AdapterUse&) = delete;

 private:
  Adapters& adapters_;
};

}  // namespace smore
