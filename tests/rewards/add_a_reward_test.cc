// The example of docs/add_a_reward.md that is linked into r1 (examples/short_answer.cc).

#include <gtest/gtest.h>

#include "rewards/reward.h"

namespace r1::rewards {
namespace {

TEST(AddARewardTest, TheExampleIsRegisteredAndScores) {
  const auto reward = *MakeReward("short_answer");
  const auto score = [&reward](const char* response) {
    RewardInput input;
    input.response = response;
    return reward->ScoreSample(input);
  };
  EXPECT_EQ(score("<think>a</think><answer>1234</answer>").value, 1);
  EXPECT_EQ(score("<think>a</think><answer>1234</answer>").extracted, "1234");
  EXPECT_EQ(score("<think>a</think><answer>12345</answer>").reason, "long");
  EXPECT_EQ(score("1234").reason, "no_think_open");
}

}  // namespace
}  // namespace r1::rewards
