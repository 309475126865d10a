#include "rewards/reward.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config_schema.h"
#include "common/nearest_name.h"
#include "common/utf8.h"
#include "rewards/plugin/plugin_reward.h"

namespace r1::rewards {

absl::StatusOr<std::unique_ptr<Reward>> MakeReward(const v1::RewardConfig& config) {
  const std::string& name = config.name();
  const RewardRegistry::Factory* make = RewardRegistry::FindOrNull(name);
  if (config.has_plugin()) {
    if (make == nullptr) return MakePluginReward(config);
    return absl::InvalidArgumentError(absl::StrCat(
        "reward: expected a plugin with a name of its own, found that of the built-in ",
        Quoted(name)));
  }
  if (make == nullptr) {
    const std::vector<std::string> known = RewardRegistry::Names();
    return absl::InvalidArgumentError(absl::StrCat("reward: expected one of ",
                                                   absl::StrJoin(known, ", "), ", found ",
                                                   Quoted(name), DidYouMean(name, known)));
  }
  v1::RewardConfig complete = config;
  const google::protobuf::FieldDescriptor* settings =
      complete.GetDescriptor()->FindFieldByName(name);
  if (settings != nullptr && !KindOfSection(*settings).empty()) {
    const google::protobuf::Reflection& reflection = *complete.GetReflection();
    if (!reflection.HasField(complete, settings)) {
      FillDefaults(*reflection.MutableMessage(&complete, settings));
    }
  }
  return (*make)(complete);
}

absl::StatusOr<std::unique_ptr<Reward>> MakeReward(const std::string& name) {
  v1::RewardConfig config;
  config.set_name(name);
  return MakeReward(config);
}

}  // namespace r1::rewards
