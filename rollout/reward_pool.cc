#include "rollout/reward_pool.h"

#include <utility>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/wait_log.h"

namespace r1::rollout {
namespace {

constexpr double kSliceSeconds = 1;  // between two looks whether a line is due

}  // namespace

RewardPool::RewardPool(int threads, size_t queue_max, Done done)
    : queue_max_(queue_max), done_(std::move(done)) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

RewardPool::~RewardPool() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
}

void RewardPool::Submit(Job job) {
  const auto has_room = [this]()
                            ABSL_NO_THREAD_SAFETY_ANALYSIS { return queue_.size() < queue_max_; };
  WaitLog log(RealClock());
  absl::MutexLock lock(&mutex_);
  while (!mutex_.AwaitWithTimeout(absl::Condition(&has_room), absl::Seconds(kSliceSeconds))) {
    log.Poll([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return absl::StrCat("the rewards of ", queue_.size(), " samples, from the reward threads");
    });
  }
  queue_.push_back(std::move(job));
  ++unfinished_;
}

void RewardPool::Drain() {
  const auto is_done = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return unfinished_ == 0; };
  WaitLog log(RealClock());
  absl::MutexLock lock(&mutex_);
  while (!mutex_.AwaitWithTimeout(absl::Condition(&is_done), absl::Seconds(kSliceSeconds))) {
    log.Poll([this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      return absl::StrCat("the rewards of the last ", unfinished_,
                          " samples, from the reward threads");
    });
  }
}

size_t RewardPool::queued() const {
  absl::MutexLock lock(&mutex_);
  return queue_.size();
}

void RewardPool::Work() {
  const auto has_work = [this]()
                            ABSL_NO_THREAD_SAFETY_ANALYSIS { return !queue_.empty() || closing_; };
  for (;;) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&has_work));
      if (queue_.empty()) return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    const double begin = RealClock().MonotonicSeconds();
    const absl::Status status = job.scorer->Score(*job.lease, job.sample);
    done_(std::move(job), status, RealClock().MonotonicSeconds() - begin);
    absl::MutexLock lock(&mutex_);
    --unfinished_;
  }
}

}  // namespace r1::rollout
