#pragma once

#include <array>
#include <vector>

#include "backends/cuda/runtime.h"
#include "backends/cuda/sampling.h"
#include "backends/readout.h"

namespace smore::cuda {

// Reads out on the device. Slots and logits stay there: one copy brings a step's parameters (and
// one more each its biases, masks, histories, failed and pooled sequences, where it has any), one
// takes its statuses and tokens back (and one more each likeliest tokens and pooled states). All
// memory is taken at first, and kernels find everything in the same place in every step. They are
// listed with those of the graph; nothing waits but finish().
class CudaReadout final : public Readout {
 public:
  // The stream is the device's.
  CudaReadout(const ReadoutShape& shape, int device, const Stream& stream);
  ~CudaReadout() override;

  // What one takes of the device's memory.
  static uint64_t bytes(const ReadoutShape& shape) { return Layout(shape).bytes(); }

  const int32_t* slot_tokens() const override { return view_.tokens; }
  void begin(const StepInput& in, const StepOutput& out,
             std::span<const WantedRow> wanted) override;
  void fail(std::span<const int32_t> sequences) override;
  void read(int first, int count, const float* logits) override;
  void pool(std::span<const PooledRows> pooled, const float* states) override;
  void end() override;
  bool done() override;
  void wait() override;
  void finish() override;

 private:
  // Where everything lies: at its largest, of which a step uses and moves what it has.
  struct Layout {
    explicit Layout(const ReadoutShape& shape);
    uint64_t bytes() const { return slots.bytes + parameters.bytes + calls.bytes + results.bytes; }

    struct {
      size_t tokens, statuses, counts, sums, bytes;
    } slots;
    // On both sides. What goes in one copy lies together.
    struct {
      size_t sequences, wanted, biases, masks, histories, texts, failed, pooled, bytes;
    } parameters;
    struct {
      size_t changed, scans, sums, levels, listed, lists, bytes;
    } calls;
    // On both sides.
    struct {
      size_t status, reads, tops, pooled, bytes;
    } results;
    int parts;  // of a row
  };

  // A step that has begun and not been finished.
  struct Turn {
    PinnedMemory to_device;
    PinnedMemory to_host;
    Event read;
    StepInput in{};
    StepOutput out{};
    std::vector<WantedRow> wanted;
    std::vector<int32_t> pooled;  // sequences
    int histories = 0;
    RowWishes wishes{};
    bool begun = false;    // and not ended
    bool started = false;  // slots are as they have to be
  };

  Turn& turn() { return turns_[ended_ % kStepsAhead]; }
  ReadoutView view() const;
  void describe(Turn& turn);
  void describe_sequences(Turn& turn);
  void start();
  void send(const Turn& turn, size_t begin, size_t end);
  void send_ahead(const Turn& turn, size_t begin, size_t bytes);
  template <class T>
  void fetch(const Turn& turn, size_t piece, int64_t count);
  void write_row(const Turn& turn, size_t i);

  const ReadoutShape shape_;
  const int device_;
  const Stream& stream_;
  const Layout layout_;
  DeviceMemory slots_;
  DeviceMemory parameters_;
  DeviceMemory calls_;
  DeviceMemory results_;
  const ReadoutView view_;
  std::array<Turn, kStepsAhead> turns_;
  uint32_t ended_ = 0;     // steps that have ended
  uint32_t finished_ = 0;  // of these
};

}  // namespace smore::cuda
