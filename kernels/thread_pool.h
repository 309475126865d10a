// Threads for the parallel stages of a step. Work is cut into one contiguous range a thread, so
// results and memory access patterns do not depend on timing.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"

namespace r1::kernels {

// One owner thread calls ParallelFor. Between stages workers spin for some microseconds and then
// sleep, so an idle pool costs nothing.
class ThreadPool {
 public:
  // The owner is one of `threads`, so threads - 1 are started.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(thread, begin, end) with ranges that cover [0, n), borders at multiples of `grain`;
  // no call is made for an empty range. Returns when all are done. Writes of the bodies
  // are visible to the caller afterwards.
  using Body = absl::FunctionRef<void(int thread, int begin, int end)>;
  void ParallelFor(int n, int grain, Body body);

 private:
  struct Job {
    int n;
    int grain;
    const Body* body;
  };

  void WorkerLoop(int thread);
  void RunPart(const Job& job, int thread) const;

  Job job_ = {};                         // written by the owner while no worker runs
  std::atomic<uint32_t> generation_{0};  // counts jobs
  std::atomic<int> unfinished_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace r1::kernels
