// Scores samples on threads of its own while generation goes on. The queue is bounded: Submit waits
// when scoring cannot keep up. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "proto/rollout.pb.h"
#include "rollout/scorer.h"

namespace r1::rollout {

class RewardPool {
 public:
  struct Job {
    uint64_t request_id = 0;
    std::shared_ptr<const v1::Lease> lease;
    std::shared_ptr<const Scorer> scorer;
    v1::Sample sample;
  };
  // Called on a pool thread with each finished job, in no order; `status` is the scorer's.
  using Done = std::function<void(Job job, const absl::Status& status, double score_seconds)>;

  RewardPool(int threads, size_t queue_max, Done done);
  // Finishes what is queued.
  ~RewardPool();

  void Submit(Job job);
  // Waits until every submitted job is done.
  void Drain();
  size_t queued() const;

 private:
  void Work();

  const size_t queue_max_;
  const Done done_;
  mutable absl::Mutex mutex_;
  std::deque<Job> queue_ ABSL_GUARDED_BY(mutex_);
  size_t unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace r1::rollout
