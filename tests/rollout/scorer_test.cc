// What a scorer does with rewards that fail: another worker first, then the sample is masked.

#include "rollout/scorer.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

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

// Scores every sample the same.
class ConstantReward : public rewards::Reward {
 public:
  explicit ConstantReward(double value) : value_(value) {}
  rewards::Score ScoreSample(const rewards::RewardInput&) const override {
    return {.value = value_, .reason = "constant"};
  }

 private:
  const double value_;
};

// "total part part …" of a row, "masked" in front where it is.
std::string ScoreRow(const std::string& columns_json) {
  Scorer::RewardSets sets;
  std::vector<Scorer::WeightedReward>& set = sets["set"];
  set.push_back({.name = "math", .reward = std::make_unique<ConstantReward>(1)});
  set.back().rows.set_column("category");
  *set.back().rows.add_values() = "math";
  *set.back().rows.add_values() = "stem";
  set.push_back({.name = "code", .weight = 2, .reward = std::make_unique<ConstantReward>(1)});
  set.back().rows.set_column("category");
  *set.back().rows.add_values() = "code";
  const Scorer scorer(*Tokenizer::Parse(*Tokenizer::BuiltinJson("bytes")), std::move(sets), 1);
  v1::Lease lease = MakeLease(0);
  lease.set_columns_json(columns_json);
  v1::Sample sample;
  EXPECT_TRUE(scorer.Score(lease, sample).ok());
  std::string text = absl::StrCat(sample.masked() ? "masked " : "", sample.reward());
  for (const v1::RewardPart& part : sample.parts()) absl::StrAppend(&text, " ", part.name());
  return text;
}

TEST(ScorerTest, RewardsJudgeTheirRows) {
  EXPECT_EQ(ScoreRow(R"({"category":"math"})"), "1 math");
  EXPECT_EQ(ScoreRow(R"({"level":5,"category":"stem"})"), "1 math");
  EXPECT_EQ(ScoreRow(R"({"category":"code"})"), "2 code");
  // Nobody judges these.
  for (const char* columns :
       {R"({"category":"logic"})", R"({"category":1})", R"({"category":null})", "{}", "",
        R"(["category"])", R"({"x":"\"category\"","y":"math"})"}) {
    EXPECT_EQ(ScoreRow(columns), "masked 0") << columns;
  }
}

}  // namespace
}  // namespace r1::rollout
