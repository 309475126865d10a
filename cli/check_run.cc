#include "cli/check_run.h"

#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/schedule.h"
#include "common/stage_init.h"
#include "learner/run_model.h"
#include "rewards/code/code_reward.h"
#include "rewards/reward.h"
#include "rollout/engine/engine.h"

namespace r1::cli {
namespace {

absl::StatusOr<ModelSpec> FindSpec(const v1::ModelConfig& config, RunPurpose purpose) {
  if (purpose == RunPurpose::kPlan) return learner::LoadRunSpec(config);
  R1_ASSIGN_OR_RETURN(learner::RunModel model, learner::LoadRunModel(config));
  return std::move(model.spec);
}

// What a stage starts from as far as it is not another stage's; the config was checked.
v1::ModelConfig OwnModel(const v1::Config& config, const StageInit& init) {
  v1::ModelConfig model = config.model();
  model.clear_architecture();
  if (init.kind == StageInit::Kind::kFolder) model.set_path(init.name);
  if (init.kind != StageInit::Kind::kPreset) return model;
  model.clear_path();
  model.set_preset(init.name);
  if (!init.tokenizer.empty()) model.set_tokenizer(init.tokenizer);
  return model;
}

// The model of every stage; nullopt where it cannot be loaded, which `report` hears once.
template <typename Report>
std::vector<std::optional<ModelSpec>> StageSpecs(const v1::Config& config,
                                                 const std::optional<ModelSpec>& first,
                                                 RunPurpose purpose, const Report& report) {
  std::vector<std::optional<ModelSpec>> specs;
  for (int i = 0; i < config.stage_size(); ++i) {
    const StageInit init = ParseStageInit(config.stage(i).init()).value();
    if (init.kind != StageInit::Kind::kFolder && init.kind != StageInit::Kind::kPreset) {
      const int source = SourceStage(config, i, init);
      specs.push_back(source < 0 ? first : specs[static_cast<size_t>(source)]);
      continue;
    }
    absl::StatusOr<ModelSpec> spec = FindSpec(OwnModel(config, init), purpose);
    if (!spec.ok()) {
      report(absl::StrCat("stage.", config.stage(i).name(), ".init"), spec.status().message());
    }
    specs.push_back(spec.ok() ? std::optional<ModelSpec>(*std::move(spec)) : std::nullopt);
  }
  return specs;
}

// Whether the workers that `r1 run` starts can generate with a stage's model.
absl::Status CheckEngine(const v1::Config& config, const ModelSpec& spec) {
  return rollout::CheckEngine(spec, {.device = config.worker().device(),
                                     .expert_weights = config.worker().expert_weights(),
                                     .running_samples_max = config.rollout().running_samples_max(),
                                     .kv_cache_mib = config.rollout().kv_cache_mib()});
}

}  // namespace

absl::StatusOr<ModelSpec> CheckRun(const LoadedConfig& loaded, RunPurpose purpose) {
  const v1::Config& config = loaded.config;
  std::vector<std::string> problems;
  const auto report = [&](const std::string& field, absl::string_view problem) {
    problems.push_back(absl::StrCat(loaded.Where(field).text, ": ", field, ": ", problem));
  };
  absl::StatusOr<ModelSpec> first = FindSpec(config.model(), purpose);
  if (!first.ok()) report("model", first.status().message());
  const v1::SandboxConfig& sandbox = config.sandbox();
  rewards::ConfigureSandbox({.missing_layers_allowed = {sandbox.missing_layers_allowed().begin(),
                                                        sandbox.missing_layers_allowed().end()}},
                            sandbox.on_unavailable() == "disable" ? rewards::OnUnavailable::kDisable
                                                                  : rewards::OnUnavailable::kFail);
  const std::vector<std::optional<ModelSpec>> specs = StageSpecs(
      config, first.ok() ? std::optional<ModelSpec>(*first) : std::nullopt, purpose, report);
  bool engine_usable = true;
  for (int i = 0; i < config.stage_size(); ++i) {
    const v1::StageConfig& stage = config.stage(i);
    const std::optional<ModelSpec>& spec = specs[static_cast<size_t>(i)];
    if (spec && purpose == RunPurpose::kStart && config.rollout().workers() > 0) {
      const absl::Status usable = CheckEngine(config, *spec);
      // The device or the model is wrong for every stage: once is enough.
      if (!usable.ok() && engine_usable) report("worker.device", usable.message());
      engine_usable = engine_usable && usable.ok();
    }
    for (const v1::RewardConfig& reward : stage.reward()) {
      const std::string path = absl::StrCat("stage.", stage.name(), ".reward.", reward.name());
      const auto made = rewards::MakeReward(reward);
      const absl::Status usable = made.ok() ? (*made)->Prepare() : made.status();
      if (usable.ok()) continue;
      report(absl::StrCat(path, reward.has_plugin() ? ".plugin" : ".name"), usable.message());
    }
    const auto response_tokens =
        static_cast<int64_t>(ScheduleMax(stage.sampling().response_tokens_max()));
    if (spec && response_tokens >= spec->positions_max) {
      report(absl::StrCat("stage.", stage.name(), ".sampling.response_tokens_max"),
             absl::StrCat("expected fewer than the model's ", spec->positions_max,
                          " positions, found ", response_tokens));
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  return first;
}

void ReportMissingFiles(const std::string& command, const std::vector<std::string>& files) {
  const std::set<std::string> once(files.begin(), files.end());
  for (const std::string& file : once) {
    std::cerr << "r1 " << command << ": not there yet: " << file << "\n";
  }
}

}  // namespace r1::cli
