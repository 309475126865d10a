#include "cli/check_run.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "learner/run_model.h"
#include "rewards/code/code_reward.h"
#include "rewards/reward.h"

namespace r1::cli {

namespace {

absl::StatusOr<ModelSpec> FindSpec(const v1::ModelConfig& config, RunPurpose purpose) {
  if (purpose == RunPurpose::kPlan) return learner::LoadRunSpec(config);
  R1_ASSIGN_OR_RETURN(learner::RunModel model, learner::LoadRunModel(config));
  return std::move(model.spec);
}

}  // namespace

absl::StatusOr<ModelSpec> CheckRun(const LoadedConfig& loaded, RunPurpose purpose) {
  const v1::Config& config = loaded.config;
  std::vector<std::string> problems;
  const auto report = [&](const std::string& field, absl::string_view problem) {
    problems.push_back(absl::StrCat(loaded.Where(field).text, ": ", field, ": ", problem));
  };
  absl::StatusOr<ModelSpec> spec = FindSpec(config.model(), purpose);
  if (!spec.ok()) report("model", spec.status().message());
  const v1::SandboxConfig& sandbox = config.sandbox();
  rewards::ConfigureSandbox({.missing_layers_allowed = {sandbox.missing_layers_allowed().begin(),
                                                        sandbox.missing_layers_allowed().end()}},
                            sandbox.on_unavailable() == "disable" ? rewards::OnUnavailable::kDisable
                                                                  : rewards::OnUnavailable::kFail);
  for (const v1::StageConfig& stage : config.stage()) {
    for (const v1::RewardConfig& reward : stage.reward()) {
      const std::string path = absl::StrCat("stage.", stage.name(), ".reward.", reward.name());
      const auto made = rewards::MakeReward(reward);
      const absl::Status usable = made.ok() ? (*made)->Prepare() : made.status();
      if (usable.ok()) continue;
      report(absl::StrCat(path, reward.has_plugin() ? ".plugin" : ".name"), usable.message());
    }
    if (spec.ok() && stage.sampling().response_tokens_max() >= spec->positions_max) {
      report(absl::StrCat("stage.", stage.name(), ".sampling.response_tokens_max"),
             absl::StrCat("expected fewer than the model's ", spec->positions_max,
                          " positions, found ", stage.sampling().response_tokens_max()));
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  return spec;
}

}  // namespace r1::cli
