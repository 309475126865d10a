#include "learner/reward_sets.h"

#include <initializer_list>
#include <set>

#include "absl/strings/str_cat.h"
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

v1::RewardSet EvaluationSet(const char* name, std::initializer_list<const char*> rewards) {
  v1::RewardSet set;
  set.set_name(name);
  for (const char* reward : rewards) {
    v1::RewardConfig& added = *set.add_rewards();
    added.set_name(reward);
    *added.mutable_weight() = ConstantSchedule(1);
  }
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
  *sets.Add() = EvaluationSet(kAnswerRewardSet, {"exact_match", "format"});
  *sets.Add() = EvaluationSet(kTextbookRewardSet, {"textbook"});
  for (const int64_t begin : MixBegins(stage)) {
    v1::RewardSet& set = *sets.Add();
    set.set_name(TrainRewardSet(stage, begin));
    for (const v1::RewardConfig& reward : stage.reward()) {
      const double weight = ScheduleAt(reward.weight(), begin);
      if (weight == 0 && !IsConstant(reward.weight())) continue;
      v1::RewardConfig& added = *set.add_rewards();
      added = reward;
      *added.mutable_weight() = ConstantSchedule(weight);
    }
  }
  return sets;
}

}  // namespace r1::learner
