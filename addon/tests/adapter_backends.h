#pragma once

#include <doctest/doctest.h>

#include <span>
#include <string>
#include <vector>

#include "engine/step.h"
#include "residual/adapters.h"
#include "tests/kernel_cases.h"

// Adapters over every backend from one test body.

namespace smore::adapter_backends {

// Kernel paths of the CPU, and the device that is emulated here.
inline std::vector<std::string> paths() {
  const std::span<const std::string> cpu = cpu_paths();
  std::vector<std::string> all(cpu.begin(), cpu.end());
  if (!cuda_devices().usable.empty()) all.push_back(kernel_cases::kCuda);
  return all;
}

inline std::unique_ptr<Backend> backend(const std::string& path, int threads = 2,
                                        ActivationType activations = ActivationType::kFloat32) {
  const bool cuda = path == kernel_cases::kCuda;
  if (cuda && activations == ActivationType::kInt8) activations = ActivationType::kDigits;
  return kernel_cases::backend(path, activations, threads);
}

inline AdapterOptions roomy(ExpertType experts = ExpertType::kStored) {
  return {.memory_budget = 1 << 24, .experts = experts, .device_budget = 1 << 24};
}

// What a call makes of zeros at one linear of `layer`: [T, outputs].
inline std::vector<float> deltas(Backend& backend, Adapters& adapters, int layer, Site site,
                                 const AdapterRows& rows, const std::vector<float>& x, int inputs,
                                 int outputs, std::vector<int>* failed = nullptr) {
  const std::vector<float> zeros(x.size() / inputs * outputs);
  const Buffer placed = backend.place(x);
  return kernel_cases::changed(backend, zeros, [&](float* y) {
    const std::vector<int> handles =
        adapters.apply(layer, site, rows, placed.get(), inputs, y, outputs);
    if (failed != nullptr) {
      failed->insert(failed->end(), handles.begin(), handles.end());
    } else {
      CHECK(handles.empty());
    }
  });
}

inline double stat(const Adapters& adapters, StatIndex index) {
  double stats[kStatCount] = {};
  adapters.stats(stats);
  return stats[index];
}

}  // namespace smore::adapter_backends
