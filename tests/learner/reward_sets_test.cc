#include "learner/reward_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/schedule.h"

namespace r1::learner {
namespace {

using testing::ElementsAre;

void AddReward(v1::StageConfig& stage, const std::string& name,
               const std::vector<std::pair<int64_t, double>>& points) {
  v1::RewardConfig& reward = *stage.add_reward();
  reward.set_name(name);
  for (const auto& [from_update, value] : points) {
    v1::SchedulePoint& point = *reward.mutable_weight()->add_points();
    point.set_from_update(from_update);
    point.set_value(value);
  }
}

std::vector<std::string> NamesAndWeights(const v1::RewardSet& set) {
  std::vector<std::string> texts = {set.name()};
  for (const v1::RewardConfig& reward : set.rewards()) {
    EXPECT_TRUE(IsConstant(reward.weight()));
    texts.push_back(absl::StrCat(reward.name(), " ", ScheduleAt(reward.weight(), 0)));
  }
  return texts;
}

TEST(RewardSetsTest, HeldOutAnswersAreJudgedAsTheStageJudgesThem) {
  v1::StageConfig stage;
  EXPECT_THAT(NamesAndWeights(MakeRewardSets(stage)[0]),
              ElementsAre(kAnswerRewardSet, "exact_match 1", "format 1"));
  AddReward(stage, "format", {{0, 0.1}});
  AddReward(stage, "code", {{0, 0}, {10, 0.5}});
  AddReward(stage, "language_consistency", {{0, 1}});
  AddReward(stage, "math", {{0, 2}});
  stage.mutable_reward(3)->mutable_rows()->set_column("category");
  const auto sets = MakeRewardSets(stage);
  EXPECT_THAT(NamesAndWeights(sets[0]),
              ElementsAre(kAnswerRewardSet, "code 1", "math 1", "format 1"));
  EXPECT_EQ(sets[0].rewards(1).rows().column(), "category");
}

// R1's last stage: general rewards in the last 400 of 1700 updates only.
TEST(RewardSetsTest, AMixThatChangesAtAnUpdateIsSeveralSets) {
  v1::StageConfig stage;
  AddReward(stage, "math", {{0, 1}});
  AddReward(stage, "preference", {{0, 0}, {1300, 0.5}});
  AddReward(stage, "watched", {{0, 0}});
  AddReward(stage, "format", {{0, 0.1}, {5, 0}});
  const auto sets = MakeRewardSets(stage);
  ASSERT_EQ(sets.size(), 5);
  EXPECT_THAT(NamesAndWeights(sets[0]), ElementsAre(kAnswerRewardSet, "math 1", "format 1"));
  EXPECT_EQ(sets[1].name(), kTextbookRewardSet);
  EXPECT_THAT(NamesAndWeights(sets[2]),
              ElementsAre("train/0", "math 1", "watched 0", "format 0.1"));
  EXPECT_THAT(NamesAndWeights(sets[3]), ElementsAre("train/1", "math 1", "watched 0"));
  EXPECT_THAT(NamesAndWeights(sets[4]),
              ElementsAre("train/2", "math 1", "preference 0.5", "watched 0"));
  EXPECT_EQ(TrainRewardSet(stage, 0), "train/0");
  EXPECT_EQ(TrainRewardSet(stage, 4), "train/0");
  EXPECT_EQ(TrainRewardSet(stage, 5), "train/1");
  EXPECT_EQ(TrainRewardSet(stage, 1299), "train/1");
  EXPECT_EQ(TrainRewardSet(stage, 1300), "train/2");
  EXPECT_EQ(TrainRewardSet(stage, 9999), "train/2");
}

TEST(RewardSetsTest, AConstantMixIsOneSet) {
  v1::StageConfig stage;
  AddReward(stage, "math", {{0, 1}});
  EXPECT_EQ(MakeRewardSets(stage).size(), 3);
  EXPECT_EQ(TrainRewardSet(stage, 123), "train/0");
  EXPECT_EQ(MakeRewardSets(v1::StageConfig()).size(), 3);  // none of its own
}

}  // namespace
}  // namespace r1::learner
