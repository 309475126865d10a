// The pool of a rank other than 0: keeps the groups that name it, asks rank 0 before it
// acknowledges any, and learns from rank 0's bulletins when a step is complete. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/clock.h"
#include "learner/group_store.h"
#include "learner/rollout_handlers.h"
#include "learner/rollout_pool.h"
#include "learner/rollout_pool_options.h"
#include "learner/rollout_service.h"

namespace r1::learner {

class RolloutPoolMember : public RolloutPool, public RolloutHandler {
 public:
  RolloutPoolMember(const RolloutPoolOptions& options, std::unique_ptr<LedgerHandler> owner,
                    const Clock& clock);
  ~RolloutPoolMember() override;

  // Starts the server and registers its address with rank 0.
  [[nodiscard]] absl::Status Serve();

  // RolloutPool.
  std::string address() const override { return server_->address(); }
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

  // RolloutHandler: groups are taken, everything else is rank 0's.
  absl::Status CheckIdentity(const v1::RunIdentity& run) const override;
  absl::StatusOr<v1::JoinReply> Join(const v1::JoinRequest& request) override;
  absl::StatusOr<v1::StageSpecReply> GetStageSpec(const v1::StageSpecRequest& request) override;
  absl::StatusOr<v1::AcquireLeasesReply> AcquireLeases(const v1::AcquireLeasesRequest& request,
                                                       const CallerGone& gone) override;
  absl::StatusOr<v1::GroupAck> AcceptGroup(v1::Group group) override;
  absl::StatusOr<v1::HeartbeatReply> Heartbeat(const v1::HeartbeatRequest& request) override;
  absl::StatusOr<v1::LeaveReply> Leave(const v1::LeaveRequest& request) override;

 private:
  absl::Status OnlyOwner(const char* what) const;
  // Asks rank 0 until it answers; Unavailable after rank_timeout_seconds without an answer.
  template <typename Ask>
  auto AskOwner(const std::string& what, const Ask& ask) -> decltype(ask());
  absl::StatusOr<TrainStep> CollectStep(uint64_t step, const v1::StepBulletin& bulletin);

  const RolloutPoolOptions options_;
  const std::unique_ptr<LedgerHandler> owner_;
  const Clock& clock_;
  std::unique_ptr<LearnerServer> server_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;
  GroupStore store_ ABSL_GUARDED_BY(mutex_);
  uint32_t stage_index_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, std::vector<GroupKey>> steps_ ABSL_GUARDED_BY(mutex_);  // not retired
  std::string awaited_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace r1::learner
