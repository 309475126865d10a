#include "learner/reward_sets.h"

#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "common/accuracy_rewards.h"
#include "common/schedule.h"

namespace r1::learner {
namespace {

// Updates at which the mix of the stage's rewards changes, 0 first.
std::set<int64_t> MixBegins(const v1::StageConfig& stage) {
  std::set<int64_t> begins = {0};
  for (const v1::RewardConfig& reward : stage.reward()) {
    for (const v1::SchedulePoint& point : reward.weight().points()) {
      begins.insert(point.from_update());
    }
  }
  return begins;
}

void AddReward(v1::RewardConfig reward, double weight, v1::RewardSet& set) {
  *reward.mutable_weight() = ConstantSchedule(weight);
  *set.add_rewards() = std::move(reward);
}

v1::RewardConfig Named(const char* name) {
  v1::RewardConfig reward;
  reward.set_name(name);
  return reward;
}

// Of held-out answers: judged as the stage's own rewards judge them.
v1::RewardSet AnswerSet(const v1::StageConfig& stage) {
  v1::RewardSet set;
  set.set_name(kAnswerRewardSet);
  for (const v1::RewardConfig& reward : stage.reward()) {
    if (absl::c_linear_search(kAccuracyRewards, reward.name())) AddReward(reward, 1, set);
  }
  if (set.rewards().empty()) AddReward(Named("exact_match"), 1, set);
  AddReward(Named("format"), 1, set);
  return set;
}

v1::RewardSet TextbookSet() {
  v1::RewardSet set;
  set.set_name(kTextbookRewardSet);
  AddReward(Named("textbook"), 1, set);
  return set;
}

}  // namespace

std::string TrainRewardSet(const v1::StageConfig& stage, int64_t update) {
  int64_t mix = -1;
  for (const int64_t begin : MixBegins(stage)) mix += begin <= update ? 1 : 0;
  return absl::StrCat("train/", mix);
}

google::protobuf::RepeatedPtrField<v1::RewardSet> MakeRewardSets(const v1::StageConfig& stage) {
  google::protobuf::RepeatedPtrField<v1::RewardSet> sets;
  *sets.Add() = AnswerSet(stage);
  *sets.Add() = TextbookSet();
  for (const int64_t begin : MixBegins(stage)) {
    v1::RewardSet& set = *sets.Add();
    set.set_name(TrainRewardSet(stage, begin));
    for (const v1::RewardConfig& reward : stage.reward()) {
      const double weight = ScheduleAt(reward.weight(), begin);
      if (weight == 0 && !IsConstant(reward.weight())) continue;
      AddReward(reward, weight, set);
    }
  }
  return sets;
}

}  // namespace r1::learner
