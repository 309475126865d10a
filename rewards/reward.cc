#include "rewards/reward.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1::rewards {

absl::StatusOr<std::unique_ptr<Reward>> MakeReward(const std::string& name) {
  if (const RewardRegistry::Factory* make = RewardRegistry::FindOrNull(name)) return (*make)();
  const std::vector<std::string> known = RewardRegistry::Names();
  return absl::InvalidArgumentError(absl::StrCat("reward: expected one of ",
                                                 absl::StrJoin(known, ", "), ", found ",
                                                 Quoted(name), DidYouMean(name, known)));
}

}  // namespace r1::rewards
