#include "cli/score_rewards.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/config.h"
#include "common/config_schema.h"
#include "common/config_tree.h"
#include "common/nearest_name.h"
#include "common/utf8.h"

namespace r1::cli {
namespace {

constexpr char kPath[] = "stage.score.reward.";

// The section of v1::RewardConfig that a reward's settings stand in: that of its own name, or
// "plugin".
std::string SectionOf(const std::string& name) {
  const auto* field = v1::RewardConfig::descriptor()->FindFieldByName(name);
  return field != nullptr && IsSection(*field) ? name : "plugin";
}

// "repetition.ngram_size=4" as an override of the config: "stage.score.reward.repetition.
// repetition.ngram_size=4".
absl::StatusOr<std::string> ToOverride(const std::string& setting,
                                       const std::vector<std::string>& names) {
  const size_t dot = setting.find('.');
  const std::string name = setting.substr(0, dot);
  const bool is_known = std::find(names.begin(), names.end(), name) != names.end();
  if (dot != std::string::npos && is_known) {
    return absl::StrCat(kPath, name, ".", SectionOf(name), setting.substr(dot));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--set: expected NAME.KEY=VALUE with one of the rewards ", absl::StrJoin(names, ", "),
      ", found ", Quoted(setting), DidYouMean(name, names)));
}

// The settings go through the loader of config files, so that they are checked as a run's are.
absl::StatusOr<v1::StageConfig> LoadRewards(const std::vector<std::string>& names,
                                            const std::vector<std::string>& settings) {
  std::string text = "[[stage]]\nname = \"score\"\nkind = \"grpo\"\n";
  for (const std::string& name : names) {
    absl::StrAppend(&text, "[[stage.reward]]\nname = ", TomlString(name), "\n");
  }
  std::vector<std::string> overrides;
  for (const std::string& setting : settings) {
    R1_ASSIGN_OR_RETURN(overrides.emplace_back(), ToOverride(setting, names));
  }
  absl::StatusOr<LoadedConfig> loaded = LoadConfigText("--reward", text, overrides);
  if (loaded.ok()) return loaded->config.stage(0);
  // What the person wrote, without our sections around it.
  std::vector<std::pair<std::string, std::string>> shorter;
  for (const std::string& name : names) {
    shorter.emplace_back(absl::StrCat(kPath, name, ".", SectionOf(name), "."), name + ".");
    shorter.emplace_back(absl::StrCat(kPath, name), name);
  }
  return absl::InvalidArgumentError(absl::StrReplaceAll(loaded.status().message(), shorter));
}

}  // namespace

absl::StatusOr<std::vector<NamedReward>> MakeNamedRewards(
    const std::string& names, const std::vector<std::string>& settings) {
  const std::vector<std::string> wanted = absl::StrSplit(names, ',', absl::SkipEmpty());
  if (wanted.empty()) return absl::InvalidArgumentError("--reward names no reward");
  R1_ASSIGN_OR_RETURN(const v1::StageConfig stage, LoadRewards(wanted, settings));
  std::vector<NamedReward> rewards;
  for (const v1::RewardConfig& config : stage.reward()) {
    R1_ASSIGN_OR_RETURN(std::unique_ptr<rewards::Reward> reward, rewards::MakeReward(config));
    R1_RETURN_IF_ERROR(reward->Prepare());
    rewards.push_back({config.name(), std::move(reward)});
  }
  return rewards;
}

}  // namespace r1::cli
