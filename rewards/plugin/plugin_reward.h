// A reward that is not part of r1, by one of three routes: a process that speaks JSON lines (a
// Python function and a shared library are run by such a process of ours, so that neither can take
// the worker down), or a gRPC service. docs/add_a_reward.md is the plugin's side.
//
// What fails is never a score: a plugin that throws, hangs, crashes, answers nonsense, or gives a
// number that is not finite or out of range, owes that sample. The instance is ended and started
// again, with a pause that doubles; the sample is tried again, alone, and on another instance where
// there is one; after plugin.attempts it is masked with the reason "reward_error".
#pragma once

#include <memory>

#include "common/status.h"
#include "rewards/reward.h"

namespace r1::rewards {

// `config.plugin` has every field set, as LoadConfig leaves it. InvalidArgument: the config names
// no place or several, a file that is not there, or a route that this build lacks.
[[nodiscard]] absl::StatusOr<std::unique_ptr<Reward>> MakePluginReward(
    const v1::RewardConfig& config);

}  // namespace r1::rewards
