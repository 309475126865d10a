// One stay of a worker with one learner incarnation, from Join to Leave. Threads: the caller's runs
// the engine; one asks for leases; one sends heartbeats; one watches the stop signal; a pool
// scores; one a learner rank sends groups. They meet in the shared lease book.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "common/stop_signal.h"
#include "rollout/group_sender.h"
#include "rollout/lease_book.h"
#include "rollout/reward_pool.h"
#include "rollout/weight_fetcher.h"
#include "rollout/worker.h"

namespace r1::rollout {

class WorkerSession {
 public:
  // Everything is borrowed until Run returns.
  WorkerSession(const WorkerOptions& options, const WorkerParts& parts, LearnerTransport& learner,
                const v1::JoinReply& joined, const StopSignal& stop);

  // Once. OK: the run is finished, or `stop` was raised. FailedPrecondition: join again. Any other
  // error ends the worker.
  [[nodiscard]] absl::Status Run();

 private:
  // The first call decides how the session ends; everybody wakes up. Any thread.
  void End(const absl::Status& status);
  bool ended() const { return ending_.raised(); }
  void Contact();

  // The threads.
  void LeaseLoop();
  void HeartbeatLoop();
  void WatchLoop();
  absl::Status EngineLoop();

  // Engine thread.
  absl::Status Load(const LeaseBook::Target& target);
  absl::Status LoadStage(uint32_t stage_index);
  absl::Status LoadWeights(const LeaseBook::Target& target);
  // False when there was nothing.
  absl::StatusOr<bool> SubmitQueued();
  absl::Status StepEngine();
  // NotFound means that the learner no longer has what the leases name: they are dropped.
  absl::Status DropIfGone(const absl::Status& status, const LeaseBook::Target& target);
  void SetPhase(const std::string& phase);
  void WaitForWork();

  void StartSenders();
  void Scored(RewardPool::Job job, const absl::Status& status, double score_seconds);
  bool HandleReply(const absl::Status& status, const char* call);
  void Drain();
  v1::WorkerStats Stats();

  const WorkerOptions& options_;
  const WorkerParts& parts_;
  LearnerTransport& learner_;
  const v1::JoinReply joined_;
  const StopSignal& stop_;

  StopSignal ending_;
  std::atomic<int> callers_{3};  // threads that call the learner: engine, leases, heartbeats
  std::atomic<double> last_contact_;
  std::atomic<uint32_t> running_samples_max_;
  SharedBook shared_;
  std::unique_ptr<RewardPool> rewards_;

  // Engine thread only.
  std::optional<StageTools> tools_;
  std::optional<LeaseBook::Target> loaded_;  // in the engine
  std::optional<uint32_t> stage_index_;      // of tools_
  uint64_t run_seed_ = 0;
  uint64_t tokens_before_stage_ = 0;

  absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  v1::WorkerStats stats_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::unique_ptr<GroupSender>> senders_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::rollout
