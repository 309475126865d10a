// Rank 0's pool, driven by hand without workers: what it refuses of callers and of stages.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/log.h"
#include "learner/message_validation.h"
#include "learner/rollout_pool_owner.h"
#include "tests/integration/toy_worker.h"

namespace r1::learner {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RolloutPoolOptions Options() {
  RolloutPoolOptions options;
  options.run.set_run_id("run");
  options.run.set_incarnation(3);
  options.numerics = rollout::ToyStage(0).numerics();
  options.workers_max = 4;
  return options;
}

CallerGone Here() {
  return [] { return false; };
}

// A pool of which one group with two samples is leased to one worker; driven by hand.
class RolloutPoolTest : public testing::Test {
 protected:
  RolloutPoolTest() : pool_(Options(), clock_) {
    SetLogLevel(LogLevel::kError);
    R1_CHECK(pool_.BeginStage(rollout::ToyStage(0)).ok());
    pool_.Publish(rollout::ToyWeights(1));
    R1_CHECK(pool_.Offer(1, {rollout::ToyLease(v1::PURPOSE_TRAIN, 5, 1, 2)}).ok());
    worker_id_ = Join().value().worker_id();
    acquire_.set_worker_id(worker_id_);
    *acquire_.mutable_run() = Options().run;
    acquire_.set_groups_max(10);
    acquire_.set_samples_max(100);
    const auto reply = pool_.AcquireLeases(acquire_, Here());
    R1_CHECK(reply.ok());
    R1_CHECK(reply->leases_size() == 1);
  }
  ~RolloutPoolTest() override {
    EXPECT_EQ(pool_.CheckInvariants(), absl::OkStatus());
    SetLogLevel(LogLevel::kInfo);
  }

  static v1::JoinRequest JoinRequest() {
    v1::JoinRequest request;
    request.set_protocol_version(v1::PROTOCOL_VERSION_CURRENT);
    request.set_host("here");
    request.set_kernel_version(1);
    request.add_runnable_isas("reference");
    return request;
  }
  absl::StatusOr<v1::JoinReply> Join() { return pool_.Join(JoinRequest()); }

  // What the worker would send for the leased group.
  v1::Group GoodGroup() const {
    v1::Group group;
    *group.mutable_run() = Options().run;
    group.set_purpose(v1::PURPOSE_TRAIN);
    group.set_group_id(5);
    group.set_policy_version(1);
    group.set_worker_id(worker_id_);
    for (uint32_t i = 0; i < 2; ++i) {
      v1::Sample& sample = *group.add_samples();
      sample.set_sample_index(i);
      for (const int32_t id : {4, 5, rollout::kToyEnd}) sample.add_token_ids(id);
      for (int t = 0; t < 3; ++t) sample.add_logprobs(-0.25f);
      v1::Span& span = *sample.add_spans();
      span.set_count(3);
      span.set_source(v1::Span::SOURCE_SAMPLED);
      span.set_policy_version(1);
      sample.set_finish_reason(v1::FINISH_REASON_STOP);
      sample.set_text("de");
    }
    return group;
  }

  ManualClock clock_;
  RolloutPoolOwner pool_;
  std::string worker_id_;
  v1::AcquireLeasesRequest acquire_;
  StopSignal stop_;
};

TEST_F(RolloutPoolTest, ARewardThatFailedForGoodStopsTheRunAndItsGroupIsNotTaken) {
  v1::Group group = GoodGroup();
  v1::RewardPart& part = *group.mutable_samples(0)->add_parts();
  part.set_name("judge");
  part.set_reason("reward_error");
  part.set_error("reward plugin judge, after 2 attempts: no reply within 1 s");
  part.set_stops_run(true);
  group.mutable_samples(0)->set_masked(true);
  const absl::StatusOr<v1::GroupAck> ack = pool_.AcceptGroup(group);
  ASSERT_TRUE(ack.ok()) << ack.status();
  EXPECT_EQ(ack->outcome(), v1::GroupAck::OUTCOME_REFUSED);
  const absl::Status status = pool_.AwaitTrainStep(1, stop_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("no reply within 1 s"));
}

TEST_F(RolloutPoolTest, MalformedGroupsAreInvalidWithTheFieldsPath) {
  struct Case {
    std::function<void(v1::Group&)> damage;
    const char* message;
  };
  const auto sample1 = [](v1::Group& group) -> v1::Sample& { return *group.mutable_samples(1); };
  const std::vector<Case> cases = {
      {[](v1::Group& g) { g.set_purpose(v1::PURPOSE_UNSPECIFIED); }, "group.purpose: expected"},
      {[](v1::Group& g) { g.set_purpose(static_cast<v1::Purpose>(77)); }, "found 77"},
      {[](v1::Group& g) { g.clear_samples(); }, "group.samples: expected 1 to 4096, found 0"},
      {[](v1::Group& g) { *g.add_samples() = g.samples(0); },
       "group.samples[2].sample_index: 0 does not ascend"},
      {[&](v1::Group& g) { sample1(g).clear_token_ids(); }, "group.samples[1].token_ids: is empty"},
      {[&](v1::Group& g) { sample1(g).set_token_ids(2, -1); },
       "group.samples[1].token_ids[2]: -1 is negative"},
      {[&](v1::Group& g) { sample1(g).set_token_ids(2, 28); }, "outside the vocabulary of 28"},
      {[&](v1::Group& g) {
         for (int i = 0; i < 30; ++i) sample1(g).add_token_ids(1);
         for (int i = 0; i < 30; ++i) sample1(g).add_logprobs(-1);
         sample1(g).mutable_spans(0)->set_count(33);
       },
       "33 tokens exceed the lease's response_tokens_max 24"},
      {[&](v1::Group& g) { sample1(g).add_logprobs(-1); },
       "group.samples[1].logprobs: expected 3, one a sampled token, found 4"},
      {[&](v1::Group& g) { sample1(g).set_logprobs(1, NAN); }, "group.samples[1].logprobs[1]: nan"},
      {[&](v1::Group& g) { sample1(g).set_logprobs(1, -INFINITY); },
       "samples[1].logprobs[1]: -inf"},
      {[&](v1::Group& g) { sample1(g).set_logprobs(0, 0.5f); }, "samples[1].logprobs[0]: 0.5"},
      {[&](v1::Group& g) { sample1(g).mutable_spans(0)->set_count(UINT32_MAX); },
       "group.samples[1].spans[0].count: expected 1 to 3"},
      {[&](v1::Group& g) { sample1(g).mutable_spans(0)->set_start(1); },
       "spans[0].start: expected 0"},
      {[&](v1::Group& g) { sample1(g).clear_spans(); }, "spans: cover 0 of 3 tokens"},
      {[&](v1::Group& g) {
         sample1(g).mutable_spans(0)->set_source(static_cast<v1::Span::Source>(9));
       },
       "spans[0].source: expected SAMPLED or GIVEN, found 9"},
      {[&](v1::Group& g) { sample1(g).mutable_spans(0)->set_policy_version(2); },
       "spans.policy_version: found 1 to 2, allowed 1 to 1"},
      {[&](v1::Group& g) { sample1(g).set_finish_reason(static_cast<v1::FinishReason>(5)); },
       "samples[1].finish_reason: expected STOP or LENGTH, found 5"},
      {[&](v1::Group& g) { sample1(g).set_reward(NAN); }, "samples[1].reward: is not finite"},
      {[&](v1::Group& g) { sample1(g).add_parts(); }, "samples[1].parts[0].name: is empty"},
      {[&](v1::Group& g) {
         sample1(g).add_parts()->set_name("x");
         sample1(g).mutable_parts(0)->set_value(INFINITY);
       },
       "samples[1].parts[0].value: is not finite"},
      {[&](v1::Group& g) { sample1(g).set_text("\xff"); },
       "samples[1].text: invalid UTF-8 at byte 0"},
      {[](v1::Group& g) { g.mutable_timings()->set_score_seconds(-1); }, "timings.score_seconds"},
  };
  for (const Case& bad : cases) {
    v1::Group group = GoodGroup();
    bad.damage(group);
    const auto ack = pool_.AcceptGroup(group);
    EXPECT_EQ(ack.status().code(), absl::StatusCode::kInvalidArgument) << bad.message;
    EXPECT_THAT(std::string(ack.status().message()), HasSubstr(bad.message));
  }
  // None of them left a trace.
  EXPECT_EQ(pool_.AcceptGroup(GoodGroup())->outcome(), v1::GroupAck::OUTCOME_ACCEPTED);
  EXPECT_EQ(pool_.AcceptGroup(GoodGroup())->outcome(), v1::GroupAck::OUTCOME_DUPLICATE);
}

TEST_F(RolloutPoolTest, TinyPositiveRoundingOfALogprobIsTolerated) {
  v1::Group group = GoodGroup();
  group.mutable_samples(0)->set_logprobs(0, 1e-6f);
  EXPECT_EQ(pool_.AcceptGroup(group)->outcome(), v1::GroupAck::OUTCOME_ACCEPTED);
}

TEST_F(RolloutPoolTest, StaleOrUnknownGroupsAreRefusedNotInvalid) {
  v1::Group stale = GoodGroup();
  stale.set_policy_version(2);
  EXPECT_EQ(pool_.AcceptGroup(stale)->outcome(), v1::GroupAck::OUTCOME_REFUSED);
  v1::Group unknown = GoodGroup();
  unknown.set_group_id(6);
  EXPECT_EQ(pool_.AcceptGroup(unknown)->outcome(), v1::GroupAck::OUTCOME_REFUSED);
  v1::Group stranger = GoodGroup();
  stranger.set_worker_id("w99");
  EXPECT_EQ(pool_.AcceptGroup(stranger).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RolloutPoolTest, EveryCallIsFencedNamingBothIncarnations) {
  v1::RunIdentity old = Options().run;
  old.set_incarnation(2);
  const auto expect_fenced = [](const absl::Status& status) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("run run incarnation 3"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("incarnation 2"));
  };
  v1::Group group = GoodGroup();
  *group.mutable_run() = old;
  expect_fenced(pool_.AcceptGroup(group).status());
  v1::AcquireLeasesRequest acquire = acquire_;
  *acquire.mutable_run() = old;
  expect_fenced(pool_.AcquireLeases(acquire, Here()).status());
  v1::StageSpecRequest spec;
  *spec.mutable_run() = old;
  expect_fenced(pool_.GetStageSpec(spec).status());
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_run() = old;
  expect_fenced(pool_.Heartbeat(heartbeat).status());
  v1::LeaveRequest leave;
  *leave.mutable_run() = old;
  expect_fenced(pool_.Leave(leave).status());
  v1::RegisterRankRequest rank;
  *rank.mutable_run() = old;
  expect_fenced(pool_.RegisterRank(rank).status());
  v1::ReportGroupRequest report;
  *report.mutable_run() = old;
  expect_fenced(pool_.ReportGroup(report).status());
  v1::AwaitBulletinRequest bulletin;
  *bulletin.mutable_run() = old;
  expect_fenced(pool_.AwaitBulletin(bulletin, Here()).status());
  v1::WeightManifestRequest manifest;
  *manifest.mutable_run() = old;
  expect_fenced(pool_.weight_handler().GetManifest(manifest).status());
  v1::WeightChunksRequest chunks;
  *chunks.mutable_run() = old;
  expect_fenced(pool_.weight_handler().GetChunk(chunks).status());
}

TEST_F(RolloutPoolTest, AnotherProtocolVersionIsRefusedNamingBoth) {
  v1::JoinRequest request = JoinRequest();
  request.set_protocol_version(static_cast<v1::ProtocolVersion>(9));
  EXPECT_THAT(std::string(pool_.Join(request).status().message()),
              HasSubstr("it speaks protocol version 9, this learner speaks 3"));
}

TEST_F(RolloutPoolTest, OffersThatCannotWorkAreRefusedAsAWhole) {
  const auto code_of = [this](const std::function<void(v1::Lease&)>& change, uint64_t step = 2) {
    v1::Lease good = rollout::ToyLease(v1::PURPOSE_TRAIN, 20, 1, 2);
    v1::Lease bad = rollout::ToyLease(v1::PURPOSE_TRAIN, 21, 1, 2);
    change(bad);
    const absl::Status status = pool_.Offer(step, {good, bad});
    EXPECT_EQ(pool_.queues()[0].size(), 1u) << status;  // nothing was taken
    return status.code();
  };
  using absl::StatusCode;
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_stage_index(1); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_group_id(20); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_group_id(5); }), StatusCode::kFailedPrecondition);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_policy_version(9); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_learner_rank(1); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.clear_prompt_ids(); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_reward_set("none"); }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_purpose(v1::PURPOSE_EVAL); }),
            StatusCode::kInvalidArgument);  // with a step
  EXPECT_EQ(code_of([](v1::Lease& l) { l.mutable_sampling()->set_response_tokens_max(1022); }),
            StatusCode::kInvalidArgument);  // longer than the stage's sequences
  EXPECT_EQ(code_of([](v1::Lease& l) { l.set_columns_json(std::string(9 << 20, ' ')); }),
            StatusCode::kResourceExhausted);
}

TEST_F(RolloutPoolTest, StageWithOtherNumericsOrWithoutVocabularyIsRefused) {
  v1::StageSpec spec = rollout::ToyStage(1);
  spec.mutable_numerics()->set_isa("avx2");
  EXPECT_THAT(std::string(pool_.BeginStage(spec).message()), HasSubstr("isa avx2"));
  spec = rollout::ToyStage(1);
  spec.set_hf_config_json("{}");
  EXPECT_THAT(std::string(pool_.BeginStage(spec).message()), HasSubstr("vocab_size"));
}

TEST_F(RolloutPoolTest, AwaitedNamesTheHolders) {
  std::thread waiter([this] {
    EXPECT_EQ(pool_.AwaitTrainStep(1, stop_).status().code(), absl::StatusCode::kCancelled);
  });
  while (pool_.awaited().what.empty()) std::this_thread::yield();
  EXPECT_EQ(pool_.awaited().what, "1 of 1 groups of step 1");
  EXPECT_THAT(pool_.awaited().from, ElementsAre(worker_id_));
  clock_.Advance(100);
  pool_.Tick();
  EXPECT_THAT(pool_.awaited().from, ElementsAre("no worker connected"));
  stop_.Raise();
  waiter.join();
  EXPECT_TRUE(pool_.awaited().what.empty());
  EXPECT_EQ(pool_.AwaitTrainStep(8, stop_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(RolloutPoolTest, WorkerRowsShowRateAndLag) {
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_run() = Options().run;
  heartbeat.set_worker_id(worker_id_);
  heartbeat.mutable_stats()->set_policy_version(1);
  for (int second = 0; second <= 3; ++second) {
    heartbeat.mutable_stats()->set_generated_tokens_total(1000 * second);
    ASSERT_TRUE(pool_.Heartbeat(heartbeat).ok());
    clock_.Advance(1);
  }
  pool_.Publish(rollout::ToyWeights(4));
  const std::vector<v1::WorkerStatus> rows = pool_.workers();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].tokens_per_second(), 1000);
  EXPECT_EQ(rows[0].lag(), 3u);
  EXPECT_EQ(rows[0].last_seen_seconds(), 1);
  EXPECT_EQ(rows[0].leased_groups(), 1u);
  EXPECT_TRUE(rows[0].connected());
}

TEST_F(RolloutPoolTest, WeightsAreReadFromAnyOffsetAndBounded) {
  const auto weights = rollout::ToyWeights(2, (3 << 20) / 4 + 7);
  pool_.Publish(weights);
  v1::WeightManifestRequest manifest_request;
  *manifest_request.mutable_run() = Options().run;
  manifest_request.set_policy_version(2);
  const auto manifest = pool_.weight_handler().GetManifest(manifest_request);
  ASSERT_TRUE(manifest.ok());
  EXPECT_EQ(manifest->digest(), weights->Digest());
  const std::string all = absl::StrCat(weights->tensors[0].bytes, weights->tensors[1].bytes);
  ASSERT_EQ(manifest->bytes_total(), all.size());
  v1::WeightChunksRequest request;
  *request.mutable_run() = Options().run;
  request.set_policy_version(2);
  for (const uint64_t offset : {uint64_t{0}, uint64_t{5}, uint64_t{2} << 20, all.size() - 1}) {
    request.set_offset(offset);
    const auto chunk = pool_.weight_handler().GetChunk(request);
    ASSERT_TRUE(chunk.ok());
    EXPECT_EQ(chunk->data(), all.substr(offset, WeightPublisher::kChunkBytes));
  }
  request.set_offset(all.size());
  EXPECT_TRUE(pool_.weight_handler().GetChunk(request)->data().empty());
  request.set_offset(all.size() + 1);
  EXPECT_EQ(pool_.weight_handler().GetChunk(request).status().code(),
            absl::StatusCode::kOutOfRange);
  request.set_policy_version(9);
  EXPECT_THAT(std::string(pool_.weight_handler().GetChunk(request).status().message()),
              HasSubstr("policy_version 9 are not kept (any more); there are: 1, 2"));
}

// A checkpoint between a group's completion and its step holds the group; after a restart the group
// is offered again with its version, which therefore must still be there.
TEST_F(RolloutPoolTest, CompleteGroupsKeepTheirVersionUntilTheyRetire) {
  ASSERT_EQ(pool_.AcceptGroup(GoodGroup())->outcome(), v1::GroupAck::OUTCOME_ACCEPTED);
  pool_.Publish(rollout::ToyWeights(2));
  ASSERT_EQ(pool_.LeasedVersions().size(), 1u);
  EXPECT_EQ(pool_.LeasedVersions()[0]->policy_version, 1u);
  ASSERT_TRUE(pool_.AwaitTrainStep(1, stop_).ok());
  pool_.RetireStep(1, 0);
  EXPECT_TRUE(pool_.LeasedVersions().empty());
}

TEST_F(RolloutPoolTest, EvaluationIsHandedOutOnce) {
  ASSERT_TRUE(pool_.Offer(0, {rollout::ToyLease(v1::PURPOSE_EVAL, 0, 1, 2)}).ok());
  EXPECT_EQ(pool_.TakeEval(0, 1)->has_value(), false);
  ASSERT_EQ(pool_.AcquireLeases(acquire_, Here())->leases_size(), 2);  // nothing is `held`
  v1::Group group = GoodGroup();
  group.set_purpose(v1::PURPOSE_EVAL);
  group.set_group_id(0);
  ASSERT_EQ(pool_.AcceptGroup(group)->outcome(), v1::GroupAck::OUTCOME_ACCEPTED);
  const auto taken = pool_.TakeEval(0, 1);
  ASSERT_TRUE(taken.ok() && taken->has_value());
  EXPECT_EQ(taken->value().size(), 1u);
  EXPECT_EQ(pool_.TakeEval(0, 1).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace r1::learner
