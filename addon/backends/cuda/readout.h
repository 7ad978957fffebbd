#pragma once

#include <array>
#include <vector>

#include "backends/cuda/runtime.h"
#include "backends/cuda/sampling.h"
#include "backends/readout.h"

namespace smore::cuda {

// Reads out on the device. Slots and logits stay there: one copy brings a step's parameters (and
// others its biases, masks and histories, where it has any), one takes its statuses and tokens back
// (and others likeliest tokens and pooled states). Nothing waits but finish(), and kernels find
// everything in the same place in every step.
class CudaReadout final : public Readout {
 public:
  CudaReadout(const ReadoutShape& shape, const Stream& stream);

  const int32_t* slot_tokens() const override { return view_.tokens; }
  void begin(const StepInput& in, const StepOutput& out,
             std::span<const WantedRow> wanted) override;
  void fail(std::span<const int32_t> sequences) override;
  void read(int first, int count, const float* logits) override;
  void pool(std::span<const PooledRows> pooled, const float* states) override;
  void end() override;
  bool done() override;
  void finish() override;

 private:
  // Where the pieces of parameters and of results lie, on both sides: at their largest, of which a
  // step moves what it has.
  struct Parameters {
    size_t sequences, wanted, bias_tokens, bias_values, masks, failed, pooled;
  };
  struct Results {
    size_t status, reads, tops, pooled;
  };

  // A step that has begun and not been finished.
  struct Turn {
    PinnedMemory to_device;
    PinnedMemory to_host;
    PinnedMemory histories;
    Event sent;  // what is in to_device and in histories
    Event read;
    StepInput in{};
    StepOutput out{};
    std::vector<WantedRow> wanted;
    std::vector<int32_t> pooled;  // sequences
    bool tops = false;
  };

  Turn& turn() { return turns_[begun_ % kStepsAhead]; }
  int describe(Turn& turn);
  template <class T>
  void send(const Turn& turn, size_t piece, int64_t count);
  template <class T>
  void fetch(const Turn& turn, size_t piece, int64_t count);
  void count_histories(Turn& turn);
  void write_row(const Turn& turn, size_t i);

  const ReadoutShape shape_;
  const Stream& stream_;
  Parameters sent_{};
  Results read_{};
  DeviceMemory slots_;
  DeviceMemory parameters_;
  DeviceMemory scratch_;
  DeviceMemory results_;
  DeviceMemory histories_;  // grows to the largest
  ReadoutView view_{};
  std::vector<HistoryRead> counted_;  // of the step that begins
  std::array<Turn, kStepsAhead> turns_;
  uint32_t begun_ = 0;     // steps that have ended
  uint32_t finished_ = 0;  // of these
};

}  // namespace smore::cuda
