#include "kernels/thread_pool.h"

#include <algorithm>

#include "common/status.h"

namespace r1::kernels {
namespace {

// Stages of a step follow each other within microseconds; a sleep and a wake-up cost more than
// that.
constexpr int kSpins = 4000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until `value` is no longer `old`: spins a little, then sleeps.
template <typename T>
void AwaitChange(const std::atomic<T>& value, T old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  R1_CHECK(threads >= 1);
  for (int thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread] { WorkerLoop(thread); });
  }
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ParallelFor(int n, int grain, Body body) {
  const Job job = {n, grain, &body};
  if (workers_.empty() || n <= grain) {
    if (n > 0) body(0, 0, n);
    return;
  }
  job_ = job;
  unfinished_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  RunPart(job, 0);
  for (int left = unfinished_.load(std::memory_order_acquire); left > 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    AwaitChange(unfinished_, left);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  uint32_t seen = 0;
  for (;;) {
    AwaitChange(generation_, seen);
    ++seen;  // the owner starts no job before all have finished the last one
    if (stopping_.load(std::memory_order_relaxed)) return;
    RunPart(job_, thread);
    if (unfinished_.fetch_sub(1, std::memory_order_release) == 1) unfinished_.notify_one();
  }
}

void ThreadPool::RunPart(const Job& job, int thread) const {
  const int64_t grains = (int64_t{job.n} + job.grain - 1) / job.grain;
  const int64_t begin = grains * thread / threads() * job.grain;
  const int64_t end = std::min<int64_t>(job.n, grains * (thread + 1) / threads() * job.grain);
  if (begin < end) (*job.body)(thread, static_cast<int>(begin), static_cast<int>(end));
}

}  // namespace r1::kernels
