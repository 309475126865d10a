// The rejection_sampling stage: samples from the weights that the stage starts from, of which those
// that pass are kept as a data set (DeepSeek-R1, 2501.12948 §2.3.3). A step is prompts_per_step
// groups; the weights never change, so the next step is always offered before the last one is in.
//
// The samples are drawn and scored by the run's workers under the stage's rewards; which are kept
// is learner/sample_selection.h, the files are learner/sampled_set.h.

#include <algorithm>
#include <memory>

#include "absl/strings/str_format.h"
#include "common/log.h"
#include "common/schedule.h"
#include "learner/reward_sets.h"
#include "learner/sampled_set.h"
#include "learner/stages/prompt_lease.h"
#include "learner/stages/rollout_metrics.h"
#include "learner/stages/stage.h"

namespace r1::learner {
namespace {

// Steps that are offered before the one that is awaited is complete.
constexpr int64_t kStepsAhead = 1;

class RejectionSamplingStage : public Stage {
 public:
  explicit RejectionSamplingStage(const v1::StageConfig& stage)
      : config_(stage.rejection_sampling()), stage_(stage) {}

  int64_t steps() const override { return StepsFor(static_cast<uint64_t>(config_.prompts())); }
  int64_t response_tokens_max() const override {
    return static_cast<int64_t>(ScheduleAt(stage_.sampling().response_tokens_max(), 0));
  }
  bool trains() const override { return false; }

  absl::Status Run(StageContext& context) override {
    R1_RETURN_IF_ERROR(Prepare(context));
    const int64_t steps = StepsFor(prompts_);
    for (int64_t step = context.step(); step <= context.step() + kStepsAhead; ++step) {
      R1_RETURN_IF_ERROR(Offer(context, step));
    }
    while (context.step() < steps) {
      if (context.StopRequested()) return absl::CancelledError("stopped");
      R1_RETURN_IF_ERROR(Step(context));
      context.CheckpointIfDue();
    }
    return Finish(context);
  }

 private:
  int64_t StepsFor(uint64_t prompts) const {
    const auto per_step = static_cast<uint64_t>(config_.prompts_per_step());
    return static_cast<int64_t>((prompts + per_step - 1) / per_step);
  }

  absl::Status Prepare(StageContext& context) {
    const uint64_t rows = context.prompts().size(Split::kTrain);
    prompts_ = config_.prompts() > 0 ? static_cast<uint64_t>(config_.prompts()) : rows;
    state_ = context.LoadState<v1::RejectionSamplingState>();
    if (state_.first_version() == 0) {
      context.Publish();
      state_.set_first_version(context.policy_version());
      state_.set_weights_digest(
          absl::StrFormat("%016x", context.policy().Snapshot(context.policy_version()).Digest()));
      context.StoreState(state_);
    }
    if (!context.is_main()) return absl::OkStatus();
    R1_ASSIGN_OR_RETURN(
        set_, SampledSet::Open(RealFileSystem(), ParentPath(context.DatasetPath(stage_.name(), "")),
                               {.stage = stage_.name(),
                                .stage_index = context.index(),
                                .run_seed = context.seed(),
                                .weights_digest = state_.weights_digest(),
                                .isa = context.isa(),
                                .temperature = stage_.sampling().temperature(),
                                .response_tokens_max = response_tokens_max(),
                                .prompt_template = PromptTemplate(context),
                                .init = stage_.init()},
                               config_, state_));
    return absl::OkStatus();
  }

  // A task writes its prompts as they are sampled.
  std::string PromptTemplate(const StageContext& context) const {
    return &context.prompts() == context.task_prompts() ? "" : stage_.data().prompt_template();
  }

  PromptRow PromptOf(const StageContext& context, uint64_t group_id) const {
    return context.prompts().Prompt(Split::kTrain, context.seed(), context.index(), group_id);
  }

  absl::Status Offer(StageContext& context, int64_t step) const {
    if (!context.is_main() || step >= StepsFor(prompts_)) return absl::OkStatus();
    const auto per_step = static_cast<uint64_t>(config_.prompts_per_step());
    const uint64_t begin = static_cast<uint64_t>(step) * per_step;
    std::vector<v1::Lease> leases;
    for (uint64_t group_id = begin; group_id < std::min(begin + per_step, prompts_); ++group_id) {
      R1_ASSIGN_OR_RETURN(
          v1::Lease lease,
          MakePromptLease(context.tokenizer(), PromptOf(context, group_id),
                          {.stage_index = context.index(),
                           .group_id = group_id,
                           .samples = config_.samples_per_prompt(),
                           .temperature = stage_.sampling().temperature(),
                           .response_tokens_max = static_cast<uint32_t>(response_tokens_max()),
                           .stop_ids = context.stop_ids(),
                           .policy_version = state_.first_version(),
                           .reward_set = TrainRewardSet(stage_, 0)}));
      leases.push_back(std::move(lease));
    }
    return context.pool().Offer(static_cast<uint64_t>(step), std::move(leases));
  }

  absl::Status Step(StageContext& context) {
    const int64_t step = context.step();
    RolloutPool::TrainStep rollout;
    {
      const StageContext::Timed timed(context, "generate");
      R1_ASSIGN_OR_RETURN(
          rollout, context.pool().AwaitTrainStep(static_cast<uint64_t>(step), context.stop()));
    }
    RolloutMetrics metrics(response_tokens_max());
    std::map<std::string, double> values;
    R1_ASSIGN_OR_RETURN(const uint64_t without_rows,
                        Collect(context, rollout.groups, metrics, values));
    context.pool().RetireStep(static_cast<uint64_t>(step), without_rows);
    context.SetProgress(step + 1, 0);
    R1_RETURN_IF_ERROR(Offer(context, step + 1 + kStepsAhead));
    // Workers are always a step ahead, so that a step's own time says nothing.
    sampled_tokens_ += metrics.sampled_tokens();
    values["perf/gen_tokens_per_second"] =
        static_cast<double>(sampled_tokens_) /
        std::max(RealClock().MonotonicSeconds() - started_, 1e-9);
    metrics.Reduce(context.collectives(), values);
    context.WriteStepRow(std::move(values));
    return absl::OkStatus();
  }

  // Rank 0, which gets all groups. Returns how many groups brought no row.
  absl::StatusOr<uint64_t> Collect(StageContext& context, const std::vector<v1::Group>& groups,
                                   RolloutMetrics& metrics, std::map<std::string, double>& values) {
    const StageContext::Timed timed(context, "select");
    std::vector<v1::SampleRecord> records;
    uint64_t without_rows = 0;
    double passed = 0;
    double kept = 0;
    for (const v1::Group& group : groups) {
      const PromptRow row = PromptOf(context, group.group_id());
      R1_ASSIGN_OR_RETURN(const SampledSet::GroupResult result, set_->AddGroup(row, group));
      without_rows += result.kept == 0 ? 1 : 0;
      passed += result.passed;
      kept += result.kept;
      metrics.AddGroup(group, result.passed == 0 || result.passed == group.samples_size(), 0);
      for (const v1::Sample& sample : group.samples()) {
        records.push_back(
            MakeSampleRecord(stage_.name(), context.step(), "train", row, group, sample));
      }
    }
    const double samples = std::max<double>(static_cast<double>(records.size()), 1);
    values["rejection/passed_frac"] = passed / samples;
    values["rejection/kept_frac"] = kept / samples;
    context.WriteSamples(std::move(records), "", context.step());
    if (set_ != nullptr) {
      values["rejection/rows"] = static_cast<double>(set_->kept());
      R1_RETURN_IF_ERROR(set_->Save(state_));
    }
    context.StoreState(state_);
    return without_rows;
  }

  absl::Status Finish(StageContext& context) {
    if (!context.is_main()) return absl::OkStatus();
    R1_RETURN_IF_ERROR(set_->Finish([&](const std::string& text) -> absl::StatusOr<uint64_t> {
      R1_ASSIGN_OR_RETURN(const auto ids, context.tokenizer().Encode(text));
      return ids.size();
    }));
    R1_LOG(kInfo) << "stage " << stage_.name() << ": "
                  << context.DatasetPath(stage_.name(), kDatasetSuffix) << "\n"
                  << set_->Table();
    return absl::OkStatus();
  }

  const v1::RejectionSamplingConfig config_;
  const v1::StageConfig stage_;
  uint64_t prompts_ = 0;
  v1::RejectionSamplingState state_;
  std::unique_ptr<SampledSet> set_;  // rank 0
  // Of this process.
  const double started_ = RealClock().MonotonicSeconds();
  int64_t sampled_tokens_ = 0;
};

R1_REGISTER(StageRegistry, "rejection_sampling", [](const v1::StageConfig& stage) {
  return std::make_unique<RejectionSamplingStage>(stage);
});

}  // namespace
}  // namespace r1::learner
