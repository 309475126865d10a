// Random schedules of everything that can happen to a ledger: messages duplicated, reordered,
// delayed, dropped, forged; workers that die, leave, fall silent and return; learner restarts.
// After every event the ledger's own invariants hold and its answers equal those of a naive model;
// once the faults stop, every group is trained exactly once.
//
// R1_LEDGER_SEED=n runs one schedule again, R1_LEDGER_SCHEDULES=n sets their number.

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/rng.h"
#include "learner/group_ledger.h"

namespace r1::learner {
namespace {

constexpr uint32_t kStage = 1;
constexpr double kLeaseTimeout = 6;
constexpr double kWorkerTimeout = 3;
constexpr int kChaosEvents = 40;
constexpr int kHealingRounds = 40;

uint64_t DigestOf(const GroupKey& key, uint32_t sample, uint64_t version) {
  return MixBits(MixBits(key.group_id * 64 + sample) + version * 4 + key.purpose);
}

class Schedule {
 public:
  explicit Schedule(uint64_t seed) : random_(seed, 0, RngPurpose::kTest, 0, 0) {
    R1_CHECK(ledger_->BeginStage(kStage).ok());
    workers_ = 1 + Below(3);
    for (uint64_t worker = 0; worker < workers_; ++worker) Join(worker);
    for (uint64_t step = 1; step <= 2; ++step) OfferStep(step);
    const uint64_t evals = Below(3);
    for (uint64_t id = 0; id < evals; ++id) Offer(v1::PURPOSE_EVAL, id, 0, 1);
    for (const auto& [key, plan] : plans_) ledger_->Plan(plan);
  }

  // Returns what was violated, or an empty string.
  std::string Run() {
    for (int event = 0; event < kChaosEvents && failure_.empty(); ++event) {
      RandomEvent();
      Check();
    }
    Heal();
    return failure_;
  }

 private:
  struct Work {
    uint64_t worker;
    v1::ReportGroupRequest report;
  };

  uint64_t Below(uint64_t bound) { return random_.NextBelow(bound); }
  bool Chance(uint64_t percent) { return Below(100) < percent; }
  std::string Name(uint64_t worker) const { return absl::StrCat("w", worker); }
  void Fail(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }

  void OfferStep(uint64_t step) {
    const uint64_t groups = 1 + Below(3);
    for (uint64_t i = 0; i < groups; ++i) Offer(v1::PURPOSE_TRAIN, next_group_id_++, step, step);
  }

  void Offer(v1::Purpose purpose, uint64_t id, uint64_t step, uint64_t version) {
    GroupPlan plan{.key = {kStage, purpose, id},
                   .step = step,
                   .policy_version = version,
                   .learner_rank = 0,
                   .samples = {}};
    const uint64_t samples = 1 + Below(3);
    for (uint32_t i = 0; i < samples; ++i) plan.samples.push_back(2 * i);
    plans_[plan.key] = plan;
  }

  void Join(uint64_t worker) { ledger_->WorkerJoined(Name(worker), now_); }

  void Acquire(uint64_t worker) {
    if (!ledger_->WorkerSeen(Name(worker), now_)) Join(worker);
    const uint32_t groups_max = 1 + static_cast<uint32_t>(Below(4));
    for (const auto& grant : ledger_->Acquire(Name(worker), groups_max, 100, now_)) {
      const GroupPlan& plan = plans_.at(grant.key);
      Work work{.worker = worker, .report = {}};
      work.report.set_stage_index(kStage);
      work.report.set_purpose(grant.key.purpose);
      work.report.set_group_id(grant.key.group_id);
      work.report.set_attempt(grant.attempt);
      work.report.set_policy_version(plan.policy_version);
      for (const uint32_t sample : grant.missing_samples) {
        if (accepted_.contains({grant.key, sample})) Fail("leased a sample that it has");
        work.report.add_sample_indices(sample);
        work.report.add_sample_digests(DigestOf(grant.key, sample, plan.policy_version));
      }
      works_.push_back(std::move(work));
    }
  }

  // A worker finishes something: its message enters the network, perhaps only with some samples.
  void FinishWork() {
    if (works_.empty()) return;
    const size_t index = Below(works_.size());
    Work work = works_[index];
    works_.erase(works_.begin() + index);
    if (Chance(20) && work.report.sample_indices_size() > 1) {
      work.report.mutable_sample_indices()->Truncate(1);
      work.report.mutable_sample_digests()->Truncate(1);
    }
    network_.push_back(work.report);
    if (Chance(20)) network_.push_back(work.report);
  }

  void Deliver(bool lossless) {
    if (network_.empty()) return;
    const size_t index = Below(network_.size());
    const v1::ReportGroupRequest report = network_[index];
    if (lossless || !Chance(20)) network_.erase(network_.begin() + index);  // else: again later
    if (!lossless && Chance(15)) return;                                    // dropped
    Accept(report);
  }

  // What a ledger must answer, from nothing but the plans and the samples accepted so far.
  void Accept(const v1::ReportGroupRequest& report) {
    const GroupKey key{report.stage_index(), report.purpose(), report.group_id()};
    const auto plan = plans_.find(key);
    const bool wanted =
        plan != plans_.end() && plan->second.policy_version == report.policy_version();
    const auto verdict = ledger_->Accept(report);
    if (wanted == (verdict.outcome == v1::GroupAck::OUTCOME_REFUSED)) {
      return Fail("wrong answer to " + GroupName(key) + ": " + verdict.reason);
    }
    if (!wanted) return;
    bool news = false;
    for (int i = 0; i < report.sample_indices_size(); ++i) {
      const auto [first, inserted] =
          accepted_.try_emplace({key, report.sample_indices(i)}, report.sample_digests(i));
      news |= inserted;
      conflicts_ += first->second != report.sample_digests(i) ? 1 : 0;
    }
    if (news != (verdict.outcome == v1::GroupAck::OUTCOME_ACCEPTED))
      Fail("news and outcome differ");
    duplicates_ += news ? 0 : 1;
  }

  void Forge() {
    if (network_.empty()) return;
    v1::ReportGroupRequest report = network_[Below(network_.size())];
    switch (Below(4)) {
      case 0:
        report.set_policy_version(report.policy_version() + 1);
        break;
      case 1:
        report.set_group_id(report.group_id() + 100);
        break;
      case 2:
        report.set_stage_index(kStage + 1);
        break;
      case 3:
        report.set_sample_digests(0, report.sample_digests(0) + 1);
        break;
    }
    Accept(report);
  }

  void Pass(double seconds) {
    now_ += seconds;
    ledger_->Tick(now_);
  }

  // The learner dies and starts again from its checkpoint; fencing keeps old messages away.
  void Restart() {
    v1::CheckpointState state;
    ledger_->Save(state);
    ledger_ = std::make_unique<GroupLedger>(options_);
    ledger_->Restore(state);
    std::map<GroupKey, v1::ReportGroupRequest> reports;
    for (const auto& [id, digest] : accepted_) {
      v1::ReportGroupRequest& report = reports[id.first];
      report.set_restored(true);
      report.set_stage_index(kStage);
      report.set_purpose(id.first.purpose);
      report.set_group_id(id.first.group_id);
      report.set_policy_version(plans_.at(id.first).policy_version);
      report.add_sample_indices(id.second);
      report.add_sample_digests(digest);
    }
    if (static_cast<size_t>(state.planned_size()) != plans_.size()) Fail("planned groups lost");
    for (const auto& [key, report] : reports) ledger_->Accept(report);
    R1_CHECK(ledger_->BeginStage(kStage).ok());
    for (const auto& [key, plan] : plans_) ledger_->Plan(plan);
    works_.clear();
    network_.clear();
    for (uint64_t worker = 0; worker < workers_; ++worker) Join(worker);
  }

  void RandomEvent() {
    const uint64_t kind = Below(100);
    const uint64_t worker = Below(workers_);
    if (kind < 25) return Acquire(worker);
    if (kind < 45) return FinishWork();
    if (kind < 65) return Deliver(/*lossless=*/false);
    if (kind < 70) return Forge();
    if (kind < 85) return Pass(0.1 * static_cast<double>(Below(40)));
    if (kind < 90) {  // dies: its work is lost, its messages in the network are not
      std::erase_if(works_, [worker](const Work& work) { return work.worker == worker; });
      return;
    }
    if (kind < 94) return ledger_->WorkerLeft(Name(worker));
    if (kind < 97) return static_cast<void>(ledger_->WorkerSeen(Name(worker), now_));
    if (kind < 98) return Restart();
    RetireComplete();
  }

  void RetireComplete() {
    for (const uint64_t step : {1, 2}) {
      if (!ledger_->TrainProgress(step).complete()) continue;
      const std::vector<GroupPlan> step_plans = ledger_->StepPlans(step);
      const uint64_t filtered = Below(step_plans.size() + 1);
      ledger_->RetireStep(step, filtered);
      trained_ += step_plans.size() - filtered;
      filtered_ += filtered;
      for (const GroupPlan& plan : step_plans) ForgetRetired(plan.key);
    }
    for (uint64_t id = 0; id < 3; ++id) {
      if (!ledger_->EvalProgress(id, 1).complete()) continue;
      ledger_->RetireEval(id, 1);
      ++evaluated_;
      ForgetRetired({kStage, v1::PURPOSE_EVAL, id});
    }
  }

  void ForgetRetired(const GroupKey& key) {
    for (const uint32_t sample : plans_.at(key).samples) {
      if (accepted_.erase({key, sample}) != 1) Fail("retired without sample");
    }
    plans_.erase(key);
  }

  void Check() {
    if (const absl::Status status = ledger_->CheckInvariants(); !status.ok()) {
      Fail(std::string(status.message()));
    }
    const v1::GroupCounters& counters = ledger_->counters();
    if (counters.duplicates() != duplicates_) Fail("duplicates miscounted");
    if (counters.conflicts() != conflicts_) Fail("conflicts miscounted");
    if (counters.trained() != trained_) Fail("trained miscounted");
    if (counters.filtered() != filtered_) Fail("filtered miscounted");
    if (counters.evaluated() != evaluated_) Fail("evaluated miscounted");
    if (ledger_->unretired() != plans_.size()) Fail("unretired groups miscounted");
  }

  // No more faults: everything left is finished in a bounded number of rounds.
  void Heal() {
    for (int round = 0; round < kHealingRounds && !plans_.empty() && failure_.empty(); ++round) {
      for (uint64_t worker = 0; worker < workers_; ++worker) Acquire(worker);
      while (!works_.empty()) FinishWork();
      while (!network_.empty()) Deliver(/*lossless=*/true);
      RetireComplete();
      Pass(1);
      Check();
    }
    if (!plans_.empty()) Fail("no progress after the faults stopped");
    if (ledger_->counters().leased() != trained_ + filtered_ + evaluated_) Fail("P1 at the end");
  }

  Rng random_;
  const GroupLedger::Options options_{.lease_timeout_seconds = kLeaseTimeout,
                                      .worker_timeout_seconds = kWorkerTimeout,
                                      .attempts_max = 1000};
  std::unique_ptr<GroupLedger> ledger_ = std::make_unique<GroupLedger>(options_);
  double now_ = 0;
  uint64_t workers_ = 0;
  uint64_t next_group_id_ = 0;
  std::map<GroupKey, GroupPlan> plans_;
  std::map<std::pair<GroupKey, uint32_t>, uint64_t> accepted_;
  std::vector<Work> works_;
  std::vector<v1::ReportGroupRequest> network_;
  uint64_t duplicates_ = 0;
  uint64_t conflicts_ = 0;
  uint64_t trained_ = 0;
  uint64_t filtered_ = 0;
  uint64_t evaluated_ = 0;
  std::string failure_;
};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(GroupLedgerPropertyTest, InvariantsHoldUnderRandomSchedules) {
  const uint64_t only = FromEnvironment("R1_LEDGER_SEED", 0);
  const uint64_t schedules = FromEnvironment("R1_LEDGER_SCHEDULES", 100000);
  const uint64_t first = only != 0 ? only : 1;
  const uint64_t last = only != 0 ? only : schedules;
  for (uint64_t seed = first; seed <= last; ++seed) {
    const std::string failure = Schedule(seed).Run();
    ASSERT_EQ(failure, "") << "R1_LEDGER_SEED=" << seed << " runs it again";
  }
}

}  // namespace
}  // namespace r1::learner
