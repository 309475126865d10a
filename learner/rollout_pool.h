// The learner's side of generation, as the stages see it: publish weights, offer groups, await the
// scored results. Behind it stand the group ledger, the store of accepted groups and the gRPC
// services.
//
// Every rank has one. Rank 0 owns the ledger; the other ranks keep the groups that name them and
// ask rank 0 for the rest. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/stop_signal.h"
#include "common/weights.h"
#include "proto/checkpoint.pb.h"
#include "proto/rollout.pb.h"
#include "proto/status.pb.h"

namespace r1::learner {

// What is awaited now, for the status page.
struct Awaited {
  std::string what;               // "12 of 64 groups of step 31"; empty = nothing
  std::vector<std::string> from;  // worker ids that hold the leases, or "no worker connected"
};

class RolloutPool {
 public:
  virtual ~RolloutPool() = default;

  // Address that workers and other ranks use.
  virtual std::string address() const = 0;

  // All ranks, others than 0 need only spec.stage_index. Training groups of earlier stages must be
  // retired; unfinished evaluation groups of them are dropped. Workers fetch the spec when a lease
  // names its stage_index.
  [[nodiscard]] virtual absl::Status BeginStage(const v1::StageSpec& spec) = 0;
  // Rank 0. A version stays until its groups are retired and a newer one exists.
  virtual void Publish(std::shared_ptr<const WeightsSnapshot> weights) = 0;
  // Rank 0. The groups' versions must be published. `step` is 0 for evaluation groups. Lease fields
  // that depend on the moment (attempt, missing samples, address, timeout) are filled by the pool;
  // `missing_samples` lists all wanted ones. All or none of the groups are taken.
  [[nodiscard]] virtual absl::Status Offer(uint64_t step, std::vector<v1::Lease> groups) = 0;

  // All ranks. Waits until every group of the training step is accepted; returns the ordered ids of
  // all, and this rank's groups in that order. Cancelled when `stop` is raised before that. Rank 0
  // decides for all ranks whether the step is complete or cancelled.
  struct TrainStep {
    std::vector<uint64_t> group_ids;
    std::vector<v1::Group> groups;  // of this rank, samples sorted by index
  };
  [[nodiscard]] virtual absl::StatusOr<TrainStep> AwaitTrainStep(uint64_t step,
                                                                 const StopSignal& stop) = 0;
  // Rank 0. The evaluation groups [first_group_id, first_group_id + count), sorted, once all are
  // accepted; nullopt before. Handed out once, then retired.
  [[nodiscard]] virtual absl::StatusOr<std::optional<std::vector<v1::Group>>> TakeEval(
      uint64_t first_group_id, uint64_t count) = 0;
  // Rank 0. Waits for them.
  [[nodiscard]] virtual absl::StatusOr<std::vector<v1::Group>> AwaitEval(
      uint64_t first_group_id, uint64_t count, const StopSignal& stop) = 0;
  // All ranks, after the update: the step's groups are trained and forgotten. `filtered` of them
  // had no signal.
  virtual void RetireStep(uint64_t step, uint64_t filtered) = 0;

  // Rank 0 posts once; every other rank awaits it once. A rank whose `stop` is raised still waits
  // for rank 0's word for some seconds before it gives up with Cancelled.
  virtual void Post(const std::string& tag, const std::string& payload) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::string> AwaitPost(const std::string& tag,
                                                              const StopSignal& stop) = 0;

  // For checkpoints: planned and unfinished groups with counters (rank 0), and this rank's
  // accepted, untrained groups.
  virtual void Save(v1::CheckpointState& state, std::vector<v1::Group>& accepted) const = 0;
  // The counterpart, before the first BeginStage. The stage offers the planned groups again; those
  // in `accepted` count as accepted then.
  [[nodiscard]] virtual absl::Status Restore(const v1::CheckpointState& state,
                                             std::vector<v1::Group> accepted) = 0;
  // Versions of groups that are not retired, besides the newest: a checkpoint holds their weights.
  virtual std::vector<std::shared_ptr<const WeightsSnapshot>> LeasedVersions() const = 0;

  virtual v1::GroupCounters counters() const = 0;
  virtual Awaited awaited() const = 0;
  virtual std::vector<v1::WorkerStatus> workers() const = 0;
  virtual std::vector<v1::QueueStatus> queues() const = 0;

  // Workers are told to drain and leave; then the servers close. Bounded by `seconds`.
  virtual void Finish(double seconds) = 0;
};

}  // namespace r1::learner
