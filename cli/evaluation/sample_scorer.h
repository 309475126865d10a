// Scores samples on threads of its own while others are generated, and appends them to the log.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cli/evaluation/sample_log.h"
#include "cli/evaluation/sample_source.h"
#include "common/evaluation/problems.h"
#include "common/evaluation/suite.h"
#include "rewards/reward.h"

namespace r1::cli {

struct NamedReward {
  std::string name;
  std::unique_ptr<rewards::Reward> reward;
};

// In the suite's order. InvalidArgument names an unknown reward with its place in the suite.
[[nodiscard]] absl::StatusOr<std::vector<NamedReward>> MakeSuiteRewards(const LoadedSuite& suite);

// Thread-safe. Borrows problems and log.
class SampleScorer {
 public:
  // Asks each reward whether this machine can run it.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<SampleScorer>> Start(
      std::vector<NamedReward> rewards, const std::vector<EvaluationProblem>& problems,
      uint64_t seed, int threads, SampleLog& log);
  ~SampleScorer();

  // Waits while too many samples wait already. An error of the log, of an earlier sample.
  [[nodiscard]] absl::Status Add(RawSample sample);
  // Waits until all are scored and written.
  [[nodiscard]] absl::Status Finish();

 private:
  SampleScorer(std::vector<NamedReward> rewards, const std::vector<EvaluationProblem>& problems,
               uint64_t seed, SampleLog& log)
      : rewards_(std::move(rewards)), problems_(problems), seed_(seed), log_(log) {}
  void Work();
  ScoredSample Score(RawSample raw) const;
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !waiting_.empty() || stop_; }
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return waiting_.empty() && working_ == 0;
  }

  const std::vector<NamedReward> rewards_;
  const std::vector<EvaluationProblem>& problems_;
  const uint64_t seed_;
  SampleLog& log_;
  absl::Mutex mutex_;
  std::deque<RawSample> waiting_ ABSL_GUARDED_BY(mutex_);
  int working_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace r1::cli
