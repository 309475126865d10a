// The group ledger, one behaviour a test; random schedules are in ledger_property_test.cc.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "learner/group_ledger.h"

namespace r1::learner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kStage = 2;

GroupPlan TrainPlan(uint64_t group_id, uint64_t step, uint64_t version,
                    std::vector<uint32_t> samples = {0, 1}) {
  return {.key = {kStage, v1::PURPOSE_TRAIN, group_id},
          .step = step,
          .policy_version = version,
          .learner_rank = 0,
          .samples = std::move(samples)};
}

GroupPlan EvalPlan(uint64_t group_id, uint64_t version) {
  GroupPlan plan = TrainPlan(group_id, 0, version, {0});
  plan.key.purpose = v1::PURPOSE_EVAL;
  return plan;
}

v1::ReportGroupRequest Report(const GroupPlan& plan, std::vector<uint32_t> samples,
                              uint32_t attempt, uint64_t salt = 0) {
  v1::ReportGroupRequest report;
  report.set_stage_index(plan.key.stage_index);
  report.set_purpose(plan.key.purpose);
  report.set_group_id(plan.key.group_id);
  report.set_attempt(attempt);
  report.set_policy_version(plan.policy_version);
  report.set_rank(plan.learner_rank);
  for (const uint32_t sample : samples) {
    report.add_sample_indices(sample);
    report.add_sample_digests(1000 * plan.key.group_id + sample + salt);
  }
  return report;
}

class GroupLedgerTest : public testing::Test {
 protected:
  GroupLedgerTest()
      : ledger_({.lease_timeout_seconds = 60, .worker_timeout_seconds = 10, .attempts_max = 3}) {
    R1_CHECK(ledger_.BeginStage(kStage).ok());
    ledger_.WorkerJoined("w1", 0);
  }
  ~GroupLedgerTest() override { EXPECT_EQ(ledger_.CheckInvariants(), absl::OkStatus()); }

  void Plan(const GroupPlan& plan) { ledger_.Plan(plan); }
  std::vector<uint64_t> AcquireIds(const std::string& worker, uint32_t groups_max = 100,
                                   uint32_t samples_max = 1000, double now = 0) {
    std::vector<uint64_t> ids;
    for (const auto& grant : ledger_.Acquire(worker, groups_max, samples_max, now)) {
      ids.push_back(grant.key.group_id);
    }
    return ids;
  }

  GroupLedger ledger_;
};

TEST_F(GroupLedgerTest, LeasesOldestVersionFirstAndTrainingBeforeEvaluation) {
  Plan(TrainPlan(8, 5, 4));
  Plan(EvalPlan(1, 3));
  Plan(TrainPlan(7, 4, 3));
  Plan(TrainPlan(6, 4, 3));
  const auto grants = ledger_.Acquire("w1", 100, 100, 0);
  std::vector<std::pair<v1::Purpose, uint64_t>> order;
  for (const auto& grant : grants) order.emplace_back(grant.key.purpose, grant.key.group_id);
  EXPECT_THAT(order, ElementsAre(std::pair(v1::PURPOSE_TRAIN, 6), std::pair(v1::PURPOSE_TRAIN, 7),
                                 std::pair(v1::PURPOSE_EVAL, 1), std::pair(v1::PURPOSE_TRAIN, 8)));
}

TEST_F(GroupLedgerTest, LeasesAreBoundedByRequestShareAndFairShare) {
  ledger_.WorkerJoined("w2", 0);
  for (uint64_t id = 0; id < 16; ++id) Plan(TrainPlan(id, 1, 1));
  EXPECT_EQ(AcquireIds("w1", 3).size(), 3u);       // groups_max
  EXPECT_EQ(AcquireIds("w1", 100, 3).size(), 2u);  // samples_max, two samples a group
  EXPECT_EQ(AcquireIds("w1").size(), 3u);          // 16 / 2 - 5 held, below 11 / 2 unleased
  EXPECT_EQ(AcquireIds("w1").size(), 0u);          // its fair share is reached
  EXPECT_EQ(AcquireIds("w2").size(), 4u);          // 8 / 2 unleased
  EXPECT_EQ(AcquireIds("w2").size(), 2u);
  EXPECT_EQ(AcquireIds("w2").size(), 1u);
  EXPECT_EQ(AcquireIds("w2").size(), 1u);
  EXPECT_EQ(ledger_.unleased(), 0u);
}

TEST_F(GroupLedgerTest, CompletesAStepInIdOrderAndRetiresIt) {
  const GroupPlan first = TrainPlan(10, 1, 1);
  const GroupPlan second = TrainPlan(11, 1, 1);
  Plan(second);
  Plan(first);
  EXPECT_THAT(AcquireIds("w1"), ElementsAre(10, 11));
  EXPECT_EQ(ledger_.Accept(Report(second, {0, 1}, 0)).outcome, v1::GroupAck::OUTCOME_ACCEPTED);
  EXPECT_FALSE(ledger_.TrainProgress(1).complete());
  EXPECT_THAT(ledger_.TrainProgress(1).holders, ElementsAre("w1"));
  EXPECT_THAT(ledger_.VersionsInUse(), ElementsAre(1));
  EXPECT_EQ(ledger_.Accept(Report(first, {0, 1}, 0)).outcome, v1::GroupAck::OUTCOME_ACCEPTED);
  EXPECT_TRUE(ledger_.TrainProgress(1).complete());
  // A checkpoint now holds the groups, and must hold the weights that they are offered with again.
  EXPECT_THAT(ledger_.VersionsInUse(), ElementsAre(1));
  const std::vector<GroupPlan> plans = ledger_.StepPlans(1);
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_EQ(plans[0].key.group_id, 10u);
  ledger_.RetireStep(1, 1);
  EXPECT_EQ(ledger_.counters().trained(), 1u);
  EXPECT_EQ(ledger_.counters().filtered(), 1u);
  EXPECT_EQ(ledger_.counters().leased(), 2u);
  EXPECT_EQ(ledger_.unretired(), 0u);
}

TEST_F(GroupLedgerTest, ExpiryLeasesTheMissingSamplesAgain) {
  const GroupPlan plan = TrainPlan(1, 1, 1, {0, 1, 2});
  Plan(plan);
  AcquireIds("w1");
  EXPECT_EQ(ledger_.Accept(Report(plan, {1}, 0)).outcome, v1::GroupAck::OUTCOME_ACCEPTED);
  ASSERT_TRUE(ledger_.WorkerSeen("w1", 59));
  EXPECT_TRUE(ledger_.Tick(59.9).expired.empty());
  EXPECT_EQ(ledger_.Tick(60).expired.size(), 1u);
  const auto grants = ledger_.Acquire("w1", 1, 100, 60);
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0].attempt, 1u);
  EXPECT_THAT(grants[0].missing_samples, ElementsAre(0, 2));
}

TEST_F(GroupLedgerTest, SamplesOfAnExpiredLeaseAreStillTaken) {
  const GroupPlan plan = TrainPlan(1, 1, 1);
  Plan(plan);
  AcquireIds("w1");
  ledger_.WorkerJoined("w2", 60);
  ledger_.Tick(60);
  EXPECT_THAT(AcquireIds("w2", 1, 100, 60), ElementsAre(1));
  EXPECT_EQ(ledger_.Accept(Report(plan, {0, 1}, 0)).outcome, v1::GroupAck::OUTCOME_ACCEPTED);
  EXPECT_EQ(ledger_.LeasesOf("w2"), 0u);
  EXPECT_EQ(ledger_.Accept(Report(plan, {0, 1}, 1)).outcome, v1::GroupAck::OUTCOME_DUPLICATE);
  EXPECT_EQ(ledger_.counters().duplicates(), 1u);
  EXPECT_EQ(ledger_.counters().conflicts(), 0u);
}

TEST_F(GroupLedgerTest, DuplicateSampleIsAcknowledgedAndIgnored) {
  const GroupPlan plan = TrainPlan(1, 1, 1);
  Plan(plan);
  AcquireIds("w1");
  EXPECT_THAT(ledger_.Accept(Report(plan, {0}, 0)).matching_samples, ElementsAre(0));
  const auto again = ledger_.Accept(Report(plan, {0}, 0));
  EXPECT_EQ(again.outcome, v1::GroupAck::OUTCOME_DUPLICATE);
  EXPECT_THAT(again.matching_samples, ElementsAre(0));
  EXPECT_EQ(ledger_.counters().duplicates(), 1u);
}

TEST_F(GroupLedgerTest, OfTwoContentsTheFirstWinsAndTheOtherIsCounted) {
  const GroupPlan plan = TrainPlan(1, 1, 1);
  Plan(plan);
  AcquireIds("w1");
  ledger_.Accept(Report(plan, {0}, 0));
  const auto verdict = ledger_.Accept(Report(plan, {0, 1}, 0, /*salt=*/7));
  EXPECT_EQ(verdict.outcome, v1::GroupAck::OUTCOME_ACCEPTED);  // sample 1 is news
  EXPECT_THAT(verdict.matching_samples, ElementsAre(1));
  EXPECT_THAT(verdict.reason, HasSubstr("sample 0 differs"));
  EXPECT_EQ(ledger_.counters().conflicts(), 1u);
}

TEST_F(GroupLedgerTest, RefusesWhatItDidNotAskFor) {
  const GroupPlan plan = TrainPlan(1, 1, 1);
  Plan(plan);
  EXPECT_THAT(ledger_.Accept(Report(plan, {0}, 0)).reason, HasSubstr("attempt 0 was never leased"));
  AcquireIds("w1");
  const auto reason_of = [this](const v1::ReportGroupRequest& report) {
    const auto verdict = ledger_.Accept(report);
    EXPECT_EQ(verdict.outcome, v1::GroupAck::OUTCOME_REFUSED);
    EXPECT_TRUE(verdict.matching_samples.empty());
    return verdict.reason;
  };
  EXPECT_THAT(reason_of(Report(TrainPlan(1, 1, 2), {0}, 0)),
              HasSubstr("generated by policy_version 2, leased for 1"));
  EXPECT_THAT(reason_of(Report(TrainPlan(9, 1, 1), {0}, 0)), HasSubstr("not wanted"));
  EXPECT_THAT(reason_of(Report(plan, {5}, 0)), HasSubstr("sample 5 was not asked for"));
  v1::ReportGroupRequest elsewhere = Report(plan, {0}, 0);
  elsewhere.set_rank(3);
  EXPECT_THAT(reason_of(elsewhere), HasSubstr("sent to rank 3, belongs to rank 0"));
  v1::ReportGroupRequest stale = Report(plan, {0}, 0);
  stale.set_stage_index(1);
  EXPECT_THAT(reason_of(stale), HasSubstr("of another stage; now is stage 2"));
}

TEST_F(GroupLedgerTest, LostWorkerGivesItsLeasesBackAndMayReturn) {
  Plan(TrainPlan(1, 1, 1));
  AcquireIds("w1");
  EXPECT_TRUE(ledger_.Tick(10).workers_lost.empty());
  EXPECT_THAT(ledger_.Tick(10.5).workers_lost, ElementsAre("w1"));
  EXPECT_EQ(ledger_.workers_connected(), 0u);
  EXPECT_EQ(ledger_.unleased(), 1u);
  EXPECT_TRUE(ledger_.WorkerSeen("w1", 11));
  EXPECT_EQ(ledger_.workers_connected(), 1u);
  EXPECT_FALSE(ledger_.WorkerSeen("w9", 11));
  ledger_.Tick(11 + 601);  // lost again, then forgotten
  EXPECT_FALSE(ledger_.WorkerSeen("w1", 613));
}

TEST_F(GroupLedgerTest, LeavingHandsLeasesBackAtOnce) {
  Plan(TrainPlan(1, 1, 1));
  AcquireIds("w1");
  ledger_.WorkerLeft("w1");
  EXPECT_EQ(ledger_.unleased(), 1u);
  EXPECT_FALSE(ledger_.WorkerSeen("w1", 1));
}

TEST_F(GroupLedgerTest, GroupThatIsLeasedTooOftenFails) {
  const GroupPlan plan = TrainPlan(1, 1, 1);
  Plan(plan);
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THAT(AcquireIds("w1"), ElementsAre(1));
    ledger_.WorkerLeft("w1");
    ledger_.WorkerJoined("w1", 0);
  }
  EXPECT_TRUE(AcquireIds("w1").empty());
  EXPECT_EQ(ledger_.TrainProgress(1).failed.size(), 1u);
  EXPECT_EQ(ledger_.counters().failed(), 1u);
  EXPECT_THAT(ledger_.Accept(Report(plan, {0, 1}, 2)).reason, HasSubstr("given up after 3"));
  EXPECT_THAT(ledger_.VersionsInUse(), ElementsAre(plan.policy_version));
}

TEST_F(GroupLedgerTest, PlanErrorsNameTheGroup) {
  Plan(TrainPlan(1, 1, 1));
  EXPECT_THAT(std::string(ledger_.CheckPlan(TrainPlan(1, 1, 1)).message()),
              HasSubstr("TRAIN group 1 of stage 2 is offered already"));
  EXPECT_EQ(ledger_.CheckPlan(TrainPlan(2, 1, 1, {})).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ledger_.CheckPlan(TrainPlan(2, 1, 1, {1, 1})).code(),
            absl::StatusCode::kInvalidArgument);
  GroupPlan other_stage = TrainPlan(2, 1, 1);
  other_stage.key.stage_index = 3;
  EXPECT_EQ(ledger_.CheckPlan(other_stage).code(), absl::StatusCode::kInvalidArgument);
  GroupPlan no_purpose = TrainPlan(2, 1, 1);
  no_purpose.key.purpose = v1::PURPOSE_UNSPECIFIED;
  EXPECT_EQ(ledger_.CheckPlan(no_purpose).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(GroupLedgerTest, NewStageExpiresEvaluationsButWaitsForTraining) {
  Plan(EvalPlan(1, 1));
  Plan(TrainPlan(1, 1, 1));
  AcquireIds("w1");
  EXPECT_EQ(ledger_.BeginStage(3).code(), absl::StatusCode::kFailedPrecondition);
  ledger_.Accept(Report(TrainPlan(1, 1, 1), {0, 1}, 0));
  ledger_.RetireStep(1, 0);
  EXPECT_EQ(ledger_.BeginStage(3), absl::OkStatus());
  EXPECT_EQ(ledger_.counters().expired(), 1u);
  EXPECT_EQ(ledger_.LeasesOf("w1"), 0u);
}

TEST_F(GroupLedgerTest, EvaluationsAreCountedByTheirRange) {
  Plan(EvalPlan(4, 1));
  Plan(EvalPlan(5, 1));
  AcquireIds("w1");
  ledger_.Accept(Report(EvalPlan(4, 1), {0}, 0));
  EXPECT_EQ(ledger_.EvalProgress(4, 2).accepted, 1u);
  EXPECT_TRUE(ledger_.EvalProgress(4, 1).complete());
  EXPECT_EQ(ledger_.EvalProgress(6, 2).planned, 0u);
  ledger_.RetireEval(4, 1);
  EXPECT_EQ(ledger_.counters().evaluated(), 1u);
}

TEST_F(GroupLedgerTest, RestoredSamplesCountWhenTheGroupIsOfferedAgain) {
  const GroupPlan whole = TrainPlan(1, 1, 1);
  const GroupPlan part = TrainPlan(2, 1, 1);
  Plan(whole);
  Plan(part);
  Plan(EvalPlan(3, 1));
  AcquireIds("w1");
  ledger_.Accept(Report(whole, {0, 1}, 0));
  v1::CheckpointState state;
  ledger_.Save(state);
  EXPECT_EQ(state.planned_size(), 3);
  EXPECT_EQ(state.counters().leased(), 0u);

  GroupLedger next({});
  next.Restore(state);
  for (v1::ReportGroupRequest report : {Report(whole, {0, 1}, 0), Report(part, {1}, 0)}) {
    report.set_restored(true);
    EXPECT_EQ(next.Accept(report).outcome, v1::GroupAck::OUTCOME_ACCEPTED);
  }
  ASSERT_TRUE(next.BeginStage(kStage).ok());
  next.Plan(whole);
  next.Plan(part);
  EXPECT_EQ(next.TrainProgress(1).accepted, 1u);
  next.WorkerJoined("w1", 0);
  const auto grants = next.Acquire("w1", 10, 10, 0);
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_THAT(grants[0].missing_samples, ElementsAre(0));
  EXPECT_EQ(next.CheckInvariants(), absl::OkStatus());
}

}  // namespace
}  // namespace r1::learner
