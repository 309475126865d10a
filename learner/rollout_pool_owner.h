// Rank 0's pool: the ledger and the store of accepted groups under one lock, the published weights,
// and the answers to workers and to other ranks. It knows no gRPC: Serve() puts it behind a server,
// the simulation calls the handlers directly.
//
// Thread-safe. Calls of the stages wait on the lock's condition variable, in slices, so that a
// raised stop signal is seen within 50 ms.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "common/wait_log.h"
#include "learner/bulletin_board.h"
#include "learner/group_ledger.h"
#include "learner/group_store.h"
#include "learner/message_validation.h"
#include "learner/rollout_handlers.h"
#include "learner/rollout_pool.h"
#include "learner/rollout_pool_options.h"
#include "learner/rollout_service.h"
#include "learner/weight_publisher.h"
#include "learner/worker_table.h"

namespace r1::learner {

class RolloutPoolOwner : public RolloutPool, public RolloutHandler, public LedgerHandler {
 public:
  RolloutPoolOwner(const RolloutPoolOptions& options, const Clock& clock);
  ~RolloutPoolOwner() override;

  // Starts the server and the thread that lets time pass. Without it, call Tick().
  [[nodiscard]] absl::Status Serve();
  // Leases run out, workers are lost.
  void Tick();
  WeightHandler& weight_handler() { return weights_; }
  [[nodiscard]] absl::Status CheckInvariants() const;

  // RolloutPool.
  std::string address() const override;
  absl::Status BeginStage(const v1::StageSpec& spec) override;
  void Publish(std::shared_ptr<const WeightsSnapshot> weights) override;
  absl::Status Offer(uint64_t step, std::vector<v1::Lease> groups) override;
  absl::StatusOr<TrainStep> AwaitTrainStep(uint64_t step, const StopSignal& stop) override;
  absl::StatusOr<std::optional<std::vector<v1::Group>>> TakeEval(uint64_t first_group_id,
                                                                 uint64_t count) override;
  absl::StatusOr<std::vector<v1::Group>> AwaitEval(uint64_t first_group_id, uint64_t count,
                                                   const StopSignal& stop) override;
  void RetireStep(uint64_t step, uint64_t filtered) override;
  void Post(const std::string& tag, const std::string& payload) override;
  absl::StatusOr<std::string> AwaitPost(const std::string& tag, const StopSignal& stop) override;
  void Save(v1::CheckpointState& state, std::vector<v1::Group>& accepted) const override;
  absl::Status Restore(const v1::CheckpointState& state, std::vector<v1::Group> accepted) override;
  std::vector<std::shared_ptr<const WeightsSnapshot>> LeasedVersions() const override;
  v1::GroupCounters counters() const override;
  Awaited awaited() const override;
  std::vector<v1::WorkerStatus> workers() const override;
  std::vector<v1::QueueStatus> queues() const override;
  void Finish(double seconds) override;

  // RolloutHandler.
  absl::Status CheckIdentity(const v1::RunIdentity& run) const override;
  absl::StatusOr<v1::JoinReply> Join(const v1::JoinRequest& request) override;
  absl::StatusOr<v1::StageSpecReply> GetStageSpec(const v1::StageSpecRequest& request) override;
  absl::StatusOr<v1::AcquireLeasesReply> AcquireLeases(const v1::AcquireLeasesRequest& request,
                                                       const CallerGone& gone) override;
  absl::StatusOr<v1::GroupAck> AcceptGroup(v1::Group group) override;
  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::HeartbeatRequest& request) override;
  absl::StatusOr<v1::LeaveReply> Leave(const v1::LeaveRequest& request) override;

  // LedgerHandler.
  absl::StatusOr<v1::RegisterRankReply> RegisterRank(
      const v1::RegisterRankRequest& request) override;
  absl::StatusOr<v1::ReportGroupReply> ReportGroup(const v1::ReportGroupRequest& request) override;
  absl::StatusOr<v1::AwaitBulletinReply> AwaitBulletin(const v1::AwaitBulletinRequest& request,
                                                       const CallerGone& gone) override;

 private:
  // What a stage waits for now.
  struct Wait {
    enum Kind { kStep, kEval, kRank };
    Kind kind = kStep;
    uint64_t first = 0;  // the step, the first group id, or the rank
    uint64_t count = 0;  // of evaluation groups
  };

  // Ends the server without a word to the workers: a learner that fails will be started again.
  void Close();
  absl::Status CheckOffer(uint64_t step, const v1::Lease& lease, GroupPlan& plan) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status AwaitRanks(const std::vector<v1::Lease>& groups)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits until the groups of `wait` are complete. The caller resets wait_.
  absl::Status AwaitComplete(const Wait& wait, const StopSignal& stop)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TrainStep CollectStep(uint64_t step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::Group> CollectEval(uint64_t first_group_id, uint64_t count)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string StepTag(uint64_t step) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Seen(const std::string& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::ReportGroupReply> Report(const v1::ReportGroupRequest& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<v1::Lease> Grant(const v1::AcquireLeasesRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Awaited Describe(const Wait& wait) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // One slice of a wait: until something changes, at most a moment; logs when it lasts.
  void WaitSlice(const Wait& wait, WaitLog& log) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  GroupLedger::Progress ProgressOf(const Wait& wait) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropWeights(bool drop_unused) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RolloutPoolOptions options_;
  const Clock& clock_;
  WeightPublisher weights_;
  std::unique_ptr<LearnerServer> server_;
  StopSignal ticker_stop_;
  std::thread ticker_;

  mutable absl::Mutex mutex_;
  mutable absl::CondVar changed_;
  GroupLedger ledger_ ABSL_GUARDED_BY(mutex_);
  GroupStore store_ ABSL_GUARDED_BY(mutex_);
  BulletinBoard bulletins_ ABSL_GUARDED_BY(mutex_);
  WorkerTable workers_ ABSL_GUARDED_BY(mutex_);
  v1::StageSpec spec_ ABSL_GUARDED_BY(mutex_);
  uint32_t vocab_size_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<GroupKey, v1::Lease> leases_ ABSL_GUARDED_BY(mutex_);  // as offered
  uint64_t lease_bytes_max_ ABSL_GUARDED_BY(mutex_) = 1;          // largest one so far
  std::map<uint32_t, std::string> rank_addresses_ ABSL_GUARDED_BY(mutex_);
  // The newest AcquireLeases call of a worker is the one that counts.
  std::map<std::string, uint64_t> acquire_serials_ ABSL_GUARDED_BY(mutex_);
  uint64_t joined_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<Wait> wait_ ABSL_GUARDED_BY(mutex_);
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  // Not empty: a worker reported what must stop the run.
  std::string stop_reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace r1::learner
