#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <thread>
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

// Steps with an adapter, which is removed at last while it is in use, beside threads that load,
// acquire and remove three others: its values stay. `path`: of adapters 0 to 3; `run`: the values
// of a step with this handle.
inline void check_coming_and_going(Adapters& adapters, const std::function<std::string(int)>& path,
                                   int steps, const std::function<std::vector<float>(int)>& run) {
  const int mine = adapters.add(path(0));
  REQUIRE(adapters.acquire(mine));
  const std::vector<float> want = run(mine);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 1; i < 4; ++i) {
    threads.emplace_back([&, i] {
      while (!stop) {
        const int handle = adapters.add(path(i));
        if (adapters.acquire(handle)) {
          adapters.routing(handle);
          adapters.release(handle);
        }
        adapters.remove(handle);
      }
    });
  }
  for (int step = 0; step < steps; ++step) CHECK(run(mine) == want);
  adapters.remove(mine);
  CHECK(run(mine) == want);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  adapters.release(mine);
}

inline double stat(const Adapters& adapters, StatIndex index) {
  double stats[kStatCount] = {};
  adapters.stats(stats);
  return stats[index];
}

}  // namespace smore::adapter_backends
