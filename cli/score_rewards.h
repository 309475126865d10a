// The rewards of `r1 score`, made from its --reward and --set.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "rewards/reward.h"

namespace r1::cli {

struct NamedReward {
  std::string name;
  std::unique_ptr<rewards::Reward> reward;
};

// `names` is comma-separated. A setting is "NAME.KEY=VALUE", where NAME is one of them and KEY a
// setting of that reward, as in repetition.ngram_size=4; a name that is no built-in reward is a
// plugin, as in judge.python=my_reward.py:score. They are checked as in a config file.
[[nodiscard]] absl::StatusOr<std::vector<NamedReward>> MakeNamedRewards(
    const std::string& names, const std::vector<std::string>& settings);

}  // namespace r1::cli
