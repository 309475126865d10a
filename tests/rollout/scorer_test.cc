// What a scorer does with rewards that fail: another worker first, then the sample is masked.

#include "rollout/scorer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace r1::rollout {
namespace {

// Fails on every sample, in the way that `reason` names.
class FailingReward : public rewards::Reward {
 public:
  explicit FailingReward(std::string reason) : reason_(std::move(reason)) {}
  rewards::Score ScoreSample(const rewards::RewardInput&) const override {
    return rewards::ErrorScore(reason_, "the cause");
  }

 private:
  const std::string reason_;
};

Scorer MakeScorer(const std::string& reason) {
  absl::StatusOr<std::string> json = Tokenizer::BuiltinJson("bytes");
  EXPECT_TRUE(json.ok()) << json.status();
  auto tokenizer = Tokenizer::Parse(*json);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  Scorer::RewardSets sets;
  sets["set"].push_back({.name = "failing", .reward = std::make_unique<FailingReward>(reason)});
  return Scorer(*std::move(tokenizer), std::move(sets), 1);
}

v1::Lease MakeLease(uint32_t attempt) {
  v1::Lease lease;
  lease.set_reward_set("set");
  lease.set_attempt(attempt);
  return lease;
}

class FailureTest : public testing::TestWithParam<const char*> {};

TEST_P(FailureTest, OtherWorkersTryFirst) {
  const Scorer scorer = MakeScorer(GetParam());
  for (uint32_t attempt = 0; attempt + 1 < Scorer::kLeasesMax; ++attempt) {
    v1::Sample sample;
    const absl::Status status = scorer.Score(MakeLease(attempt), sample);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_EQ(status.message(), "the cause");
  }
}

TEST_P(FailureTest, TheLastOneMasksTheSample) {
  v1::Sample sample;
  const absl::Status status =
      MakeScorer(GetParam()).Score(MakeLease(Scorer::kLeasesMax - 1), sample);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(sample.masked());
  ASSERT_EQ(sample.parts_size(), 1);
  EXPECT_EQ(sample.parts(0).reason(), GetParam());
  EXPECT_EQ(sample.parts(0).error(), "the cause");
}

INSTANTIATE_TEST_SUITE_P(Failures, FailureTest,
                         testing::Values(rewards::kRewardError, rewards::kInfraError));

// No other worker can mend a row that is no problem.
TEST(ScorerTest, OtherFailuresAreDecidedAtOnce) {
  v1::Sample sample;
  const absl::Status status = MakeScorer("bad_problem").Score(MakeLease(0), sample);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(sample.masked());
}

}  // namespace
}  // namespace r1::rollout
