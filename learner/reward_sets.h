// The reward sets of a stage as workers get them: their weights are constant, so a mix that changes
// at an update is several sets, and each lease names the one of its update.
#pragma once

#include <cstdint>
#include <string>

#include "google/protobuf/repeated_field.h"
#include "proto/config.pb.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

// kAccuracyRewards of the stage, exact_match when it has none; and format.
inline constexpr char kAnswerRewardSet[] = "answer";
inline constexpr char kTextbookRewardSet[] = "textbook";  // the whole working, line by line

// "train/<n>": n counts the points at which a weight changes up to this update.
std::string TrainRewardSet(const v1::StageConfig& stage, int64_t update);

// All sets of the stage: those for evaluation, and one for each mix of its own rewards. A reward is
// left out of the mixes in which its schedule says 0; one whose weight is always 0 is in all of
// them, to be measured.
google::protobuf::RepeatedPtrField<v1::RewardSet> MakeRewardSets(const v1::StageConfig& stage);

}  // namespace r1::learner
