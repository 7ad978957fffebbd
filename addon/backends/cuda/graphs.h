#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <unordered_map>

#include "backends/cuda/kernel_list.h"
#include "backends/cuda/runtime.h"

namespace smore::cuda {

// Puts lists of kernels on a stream, those that come again as graphs: one launch for all of a list.
// A list that was met before becomes a graph; lists of the same kernels, grids and blocks share it,
// and what differs in their arguments is changed before the launch. So a graph never runs with
// anything but what was listed. Graphs that were not used for long make room for others, and a list
// for whose graph the device has no memory is put kernel by kernel.
class Graphs {
 public:
  explicit Graphs(const Stream& stream) : stream_(stream) {}

  void put(const KernelList& list);

  // Since the start. From any thread.
  struct Counts {
    std::atomic<uint64_t> launches{0};  // of graphs
    std::atomic<uint64_t> captures{0};  // graphs made
    std::atomic<uint64_t> updates{0};   // kernels of graphs whose arguments were changed
    std::atomic<uint64_t> direct{0};    // lists that were put kernel by kernel
  };
  const Counts& counts() const { return counts_; }

  static constexpr size_t kMostGraphs = 128;
  // Fewer kernels are put one by one.
  static constexpr size_t kLeastKernels = 4;

 private:
  struct Kept {
    uint64_t hash;
    KernelList list;  // what the graph's arguments are
    Graph graph;
  };
  using Place = std::list<Kept>::iterator;

  void put_directly(const KernelList& list);
  void launch(Kept& kept, const KernelList& list);
  bool met_before(uint64_t hash);
  Place find(uint64_t hash, const KernelList& list);
  Place make(uint64_t hash, const KernelList& list);
  void drop_last();

  const Stream& stream_;
  std::list<Kept> kept_;  // the last used one first
  std::unordered_multimap<uint64_t, Place> by_hash_;
  std::deque<uint64_t> met_;  // hashes of lists that were put directly, the last ones
  Counts counts_;
};

}  // namespace smore::cuda
