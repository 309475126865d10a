// Who holds which group, and what became of it: the state machine behind the rollout pool. Pure:
// no clock (time is an argument), no lock, no I/O; the simulation runs it unchanged.
//
// A group is planned, leased to a worker, accepted sample by sample, and retired exactly once, as
// trained, filtered, evaluated, expired or failed. What a lost or late worker leaves undone is
// leased again, and only that: the same sample drawn again is the same sample, so it does not
// matter whose comes first. Duplicates are acknowledged and ignored; of two different contents for
// one sample the first wins and the other is counted.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/status.h"
#include "proto/checkpoint.pb.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

struct GroupKey {
  uint32_t stage_index = 0;
  v1::Purpose purpose = v1::PURPOSE_UNSPECIFIED;
  uint64_t group_id = 0;
  friend auto operator<=>(const GroupKey&, const GroupKey&) = default;
};

// "TRAIN group 17 of stage 2".
std::string GroupName(const GroupKey& key);

struct GroupPlan {
  GroupKey key;
  uint64_t step = 0;  // 0 for evaluation
  uint64_t policy_version = 0;
  uint32_t learner_rank = 0;
  std::vector<uint32_t> samples;  // wanted indices, ascending
};

class GroupLedger {
 public:
  struct Options {
    double lease_timeout_seconds = 60;
    double worker_timeout_seconds = 10;
    // A group leased so often without a result has failed: something about it kills workers.
    uint32_t attempts_max = 50;
  };

  explicit GroupLedger(const Options& options) : options_(options) {}

  // Unfinished evaluation groups of the stage before expire. FailedPrecondition while training
  // groups are not retired. Beginning the current stage again changes nothing.
  [[nodiscard]] absl::Status BeginStage(uint32_t stage_index);
  // Whether the group can be planned. InvalidArgument: another stage, no samples, unsorted samples.
  // FailedPrecondition: planned already.
  [[nodiscard]] absl::Status CheckPlan(const GroupPlan& plan) const;
  // CheckPlan must hold.
  void Plan(const GroupPlan& plan);

  // Workers. A lost worker is known for a while: it is let in again by its next message.
  void WorkerJoined(const std::string& worker, double now);
  // False when the worker is unknown and must join again.
  bool WorkerSeen(const std::string& worker, double now);
  // Hands its leases back.
  void WorkerLeft(const std::string& worker);
  // Hands back the leases of a known worker that it does not know of.
  void Reconcile(const std::string& worker, const std::set<GroupKey>& held);

  struct Grant {
    GroupKey key;
    uint32_t attempt = 0;
    std::vector<uint32_t> missing_samples;
  };
  // The next groups for a known worker: oldest version first, training before evaluation, then by
  // step and id. At most the worker's share of what is left, so that workers end together.
  std::vector<Grant> Acquire(const std::string& worker, uint32_t groups_max, uint32_t samples_max,
                             double now);

  // Samples that arrived, as digests. Enum and sizes must be validated; the ledger checks the rest.
  struct Verdict {
    v1::GroupAck::Outcome outcome = v1::GroupAck::OUTCOME_REFUSED;
    std::string reason;
    std::vector<uint32_t> matching_samples;  // see ReportGroupReply
  };
  Verdict Accept(const v1::ReportGroupRequest& report);

  // Passing of time: leases run out, workers are lost.
  struct TickResult {
    std::vector<GroupKey> expired;
    std::vector<std::string> workers_lost;
  };
  TickResult Tick(double now);

  struct Progress {
    uint64_t planned = 0;
    uint64_t accepted = 0;
    uint64_t unleased = 0;
    std::set<std::string> holders;  // workers that hold leases
    std::vector<GroupKey> failed;
    bool complete() const { return planned > 0 && accepted == planned; }
  };
  Progress TrainProgress(uint64_t step) const;
  // Of the evaluation groups [first_group_id, first_group_id + count); planned < count when some
  // are unknown.
  Progress EvalProgress(uint64_t first_group_id, uint64_t count) const;
  // Plans of a step in training order, which is by group_id.
  std::vector<GroupPlan> StepPlans(uint64_t step) const;
  // Null when the group is not planned.
  const GroupPlan* FindPlanOrNull(const GroupKey& key) const;

  // The groups must be complete.
  void RetireStep(uint64_t step, uint64_t filtered);
  void RetireEval(uint64_t first_group_id, uint64_t count);

  // Versions of groups that are not retired. A complete group's counts too: after a restart it is
  // offered again, and may then miss samples.
  std::vector<uint64_t> VersionsInUse() const;
  uint64_t unleased() const { return unleased_.size(); }
  uint64_t unretired() const { return groups_.size(); }
  uint32_t stage_index() const { return stage_index_.value_or(0); }
  uint32_t workers_connected() const;
  bool Knows(const std::string& worker) const { return workers_.contains(worker); }
  bool IsConnected(const std::string& worker) const;
  uint64_t LeasesOf(const std::string& worker) const;
  double LastSeen(const std::string& worker) const;
  const v1::GroupCounters& counters() const { return counters_; }

  // Groups that are not retired, and counters without them: they count again when they are offered
  // again after Restore.
  void Save(v1::CheckpointState& state) const;
  void Restore(const v1::CheckpointState& state) { counters_ = state.counters(); }

  // P1 and everything else that must hold between two calls; Internal says what does not.
  [[nodiscard]] absl::Status CheckInvariants() const;

 private:
  enum class State { kUnleased, kLeased, kAccepted, kFailed };
  struct Entry {
    GroupPlan plan;
    State state = State::kUnleased;
    uint32_t leases = 0;   // how often it was leased
    bool counted = false;  // in counters_.leased
    std::string worker;    // of the current lease
    double deadline = 0;
    std::vector<std::optional<uint64_t>> digests;  // of the accepted samples, as plan.samples
    uint32_t accepted = 0;
  };
  struct Worker {
    bool connected = true;
    double last_seen = 0;
    std::set<GroupKey> leases;
  };
  struct Order {
    uint64_t policy_version;
    v1::Purpose purpose;  // TRAIN < EVAL
    uint64_t step;
    uint64_t group_id;
    friend auto operator<=>(const Order&, const Order&) = default;
  };
  static Order OrderOf(const GroupPlan& plan) {
    return {plan.policy_version, plan.key.purpose, plan.step, plan.key.group_id};
  }
  struct Step {
    std::set<GroupKey> groups;
    uint64_t accepted = 0;
  };

  void CountAsLeased(Entry& entry);
  std::string RefusalOrEmpty(const v1::ReportGroupRequest& report, const Entry& entry) const;
  Verdict AcceptSamples(const v1::ReportGroupRequest& report, Entry& entry);
  void Complete(Entry& entry);
  void EndLease(Entry& entry);
  void HandBack(Entry& entry);
  void HandBackAll(Worker& worker);
  void AddToProgress(const Entry& entry, Progress& progress) const;
  void Erase(const GroupKey& key);

  const Options options_;
  std::optional<uint32_t> stage_index_;
  std::map<GroupKey, Entry> groups_;
  std::map<uint64_t, Step> steps_;
  std::set<Order> unleased_;
  std::set<std::pair<double, GroupKey>> deadlines_;
  std::map<std::string, Worker> workers_;
  std::map<uint64_t, uint64_t> versions_in_use_;  // version -> groups that are not retired
  // Samples of a checkpoint, or of another rank's, whose group is not offered yet.
  std::map<GroupKey, v1::ReportGroupRequest> restored_;
  v1::GroupCounters counters_;
};

}  // namespace r1::learner
