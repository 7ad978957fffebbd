#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace smore {

// Fork-join over a fixed set of threads; the calling thread is one of them. Workers spin for tens
// of microseconds after a job and then sleep, so that an idle engine burns no processor and the
// next op of a running step pays no wake-up. One job at a time; only the engine thread starts jobs.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Calls fn(chunk) once for every chunk in [0, chunks), handing chunks out dynamically, so that a
  // thread that was preempted delays the others by one chunk at most. Returns when all are done.
  // What fn throws on any thread is thrown here once all are done (of several faults, one; without
  // workers or with one chunk, which run on the caller at once, the first ends the job).
  template <class Fn>
  void for_each(int64_t chunks, Fn&& fn) {
    using Plain = std::remove_reference_t<Fn>;
    run(
        chunks, [](void* context, int64_t chunk) { (*static_cast<Plain*>(context))(chunk); },
        const_cast<void*>(static_cast<const void*>(std::addressof(fn))));
  }

 private:
  using Job = void (*)(void* context, int64_t chunk);
  void run(int64_t chunks, Job job, void* context);

  int size_;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace smore
