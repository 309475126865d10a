// The worker with its real parts.

#include "common/models/model_spec.h"
#include "common/schedule.h"
#include "kernels/isa.h"
#include "rewards/code/code_reward.h"
#include "rewards/reward.h"
#include "rollout/learner_client.h"
#include "rollout/worker.h"

namespace r1::rollout {
namespace {

absl::StatusOr<Scorer::RewardSets> MakeRewardSets(const v1::StageSpec& spec) {
  const v1::SandboxSpec& sandbox = spec.sandbox();
  rewards::ConfigureSandbox({.missing_layers_allowed = {sandbox.missing_layers_allowed().begin(),
                                                        sandbox.missing_layers_allowed().end()}},
                            sandbox.disable_when_unavailable() ? rewards::OnUnavailable::kDisable
                                                               : rewards::OnUnavailable::kFail);
  Scorer::RewardSets sets;
  for (const v1::RewardSet& set : spec.reward_sets()) {
    std::vector<Scorer::WeightedReward>& rewards = sets[set.name()];
    for (const v1::RewardConfig& reward : set.rewards()) {
      Scorer::WeightedReward& weighted = rewards.emplace_back();
      weighted.name = reward.name();
      weighted.weight = ScheduleAt(reward.weight(), 0);
      weighted.rows = reward.rows();
      R1_ASSIGN_OR_RETURN(weighted.reward, rewards::MakeReward(reward));
      R1_RETURN_IF_ERROR(weighted.reward->Prepare());
    }
  }
  return sets;
}

absl::StatusOr<StageTools> MakeStage(const v1::StageSpec& spec, const WorkerOptions& options) {
  R1_ASSIGN_OR_RETURN(ModelSpec model, ParseModelSpec(spec.hf_config_json()));
  R1_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer,
                      Tokenizer::Parse(spec.tokenizer_json(), spec.tokenizer_config_json()));
  R1_ASSIGN_OR_RETURN(Scorer::RewardSets reward_sets, MakeRewardSets(spec));
  EngineOptions engine;
  engine.device = !options.device.empty()           ? options.device
                  : !spec.engine().device().empty() ? spec.engine().device()
                                                    : "cpu";
  if (!spec.engine().expert_weights().empty())
    engine.expert_weights = spec.engine().expert_weights();
  engine.threads =
      options.threads > 0 ? options.threads : static_cast<int>(spec.engine().threads());
  engine.running_samples_max = static_cast<int>(spec.engine().running_samples_max());
  engine.kv_cache_mib = static_cast<int>(spec.engine().kv_cache_mib());
  engine.isa = spec.numerics().isa();

  StageTools tools;
  R1_ASSIGN_OR_RETURN(tools.engine, Engine::Create(model, engine));
  tools.scorer =
      std::make_shared<const Scorer>(std::move(tokenizer), std::move(reward_sets), spec.run_seed());
  for (const WeightSpec& weight : model.weights) {
    tools.weights_bytes_max += static_cast<uint64_t>(weight.elements()) * sizeof(float);
  }
  tools.check_weights = [model = std::move(model)](const WeightsSnapshot& weights) {
    return CheckWeights(model, weights, "the learner");
  };
  return tools;
}

}  // namespace

absl::Status RunWorker(const WorkerOptions& options, const StopSignal& stop) {
  WorkerParts parts;
  for (const kernels::IsaName isa : kernels::DetectIsas()) {
    parts.runnable_isas.emplace_back(kernels::IsaText(isa));
  }
  parts.kernel_version = kernels::kKernelVersion;
  parts.connect = MakeLearnerClient;
  parts.make_stage = MakeStage;
  return RunWorkerWith(options, parts, stop);
}

}  // namespace r1::rollout
