// Numbers about scored groups: rewards, their sub-scores and their reasons.

#include "learner/stages/rollout_metrics.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace r1::learner {
namespace {

// A sample with one reward.
v1::Sample& AddSample(v1::Group& group, double value, const std::string& reason,
                      bool masked = false) {
  v1::Sample& sample = *group.add_samples();
  sample.set_finish_reason(v1::FINISH_REASON_STOP);
  sample.add_token_ids(1);
  sample.set_reward(value);
  sample.set_masked(masked);
  v1::RewardPart& part = *sample.add_parts();
  part.set_name("judge");
  part.set_value(value);
  part.set_reason(reason);
  return sample;
}

std::map<std::string, double> Reduced(const v1::Group& group) {
  RolloutMetrics metrics(/*response_tokens_max=*/10);
  metrics.AddGroup(group, /*equal_rewards=*/false, /*lag=*/0);
  const auto collectives = Collectives::Create();
  EXPECT_TRUE(collectives.ok());
  std::map<std::string, double> values;
  metrics.Reduce(**collectives, values);
  return values;
}

TEST(RolloutMetricsTest, RewardsSubScoresAndReasons) {
  v1::Group group;
  v1::RewardSubScore& style = *AddSample(group, 1, "good").mutable_parts(0)->add_sub_scores();
  style.set_name("style");
  style.set_value(0.5);
  AddSample(group, 0, "bad");
  AddSample(group, 0.5, "good");
  AddSample(group, 7, "reward_error", /*masked=*/true);
  const std::map<std::string, double> values = Reduced(group);
  EXPECT_DOUBLE_EQ(values.at("reward/judge/mean"), 0.5);
  EXPECT_DOUBLE_EQ(values.at("reward/judge/style/mean"), 0.5);
  EXPECT_DOUBLE_EQ(values.at("reward/judge/reason/good_frac"), 0.5);
  EXPECT_DOUBLE_EQ(values.at("reward/judge/reason/bad_frac"), 0.25);
  EXPECT_DOUBLE_EQ(values.at("reward/judge/reason/reward_error_frac"), 0.25);
  EXPECT_DOUBLE_EQ(values.at("reward/masked_frac"), 0.25);
}

TEST(RolloutMetricsTest, ManyReasonsAreCountedTogether) {
  v1::Group group;
  for (int i = 0; i < 40; ++i) AddSample(group, 0, absl::StrCat("reason_", i));
  double sum = 0;
  int reasons = 0;
  for (const auto& [name, value] : Reduced(group)) {
    if (!absl::StrContains(name, "/reason/")) continue;
    sum += value;
    ++reasons;
  }
  EXPECT_EQ(reasons, 17);
  EXPECT_NEAR(sum, 1, 1e-12);
}

}  // namespace
}  // namespace r1::learner
