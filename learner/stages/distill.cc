// The distill stage: on-policy distillation. A step leases prompts_per_step groups, which the
// student's newest weights sample; the teacher, which lives in the learner as GRPO's reference
// does, says how likely it finds each token; and the student makes one update of the reverse KL for
// each sequences_per_update (learner/algorithms/reverse_kl.h).
//
// Student and teacher must share their tokenizer, since ids cross. Between tokenizers, distillation
// is off-line: rejection_sampling with the teacher as init, then sft of the student
// (docs/stages.md).

#include <algorithm>
#include <map>
#include <memory>

#include "common/log.h"
#include "common/schedule.h"
#include "common/stage_init.h"
#include "learner/algorithms/reverse_kl.h"
#include "learner/reward_sets.h"
#include "learner/stage_model.h"
#include "learner/stages/prompt_lease.h"
#include "learner/stages/rollout_metrics.h"
#include "learner/stages/stage.h"
#include "learner/stages/stage_metrics.h"

namespace r1::learner {
namespace {

class DistillStage : public Stage {
 public:
  explicit DistillStage(const v1::StageConfig& stage) : config_(stage.distill()), stage_(stage) {}

  int64_t steps() const override { return config_.steps(); }
  int64_t response_tokens_max() const override {
    return static_cast<int64_t>(ScheduleAt(stage_.sampling().response_tokens_max(), 0));
  }

  absl::Status Run(StageContext& context) override {
    R1_RETURN_IF_ERROR(LoadTeacher(context));
    state_ = context.LoadState<v1::DistillState>();
    if (state_.first_version() == 0) {
      context.Publish();
      state_.set_first_version(context.policy_version());
      context.StoreState(state_);
    }
    R1_RETURN_IF_ERROR(Offer(context, context.step()));
    R1_RETURN_IF_ERROR(context.ResumeEvaluations());
    while (context.step() < config_.steps()) {
      if (context.StopRequested()) return absl::CancelledError("stopped");
      R1_RETURN_IF_ERROR(Step(context));
      context.CheckpointIfDue();
    }
    return context.CollectEvaluations();
  }

 private:
  absl::Status LoadTeacher(StageContext& context) {
    R1_ASSIGN_OR_RETURN(const StageInit init, ParseStageInit(config_.teacher()));
    const CheckpointStore store(RealFileSystem(),
                                {.folder = JoinPath(context.run().run().dir(), "checkpoints")});
    absl::StatusOr<StageModel> teacher =
        LoadStageModel(context.run(), static_cast<int>(context.index()), init, store);
    if (!teacher.ok()) {
      return Annotate(teacher.status(), absl::StrCat("stage ", stage_.name(), ": teacher"));
    }
    if (teacher->model.tokenizer->json() != context.tokenizer().json()) {
      return absl::InvalidArgumentError(
          absl::StrCat("stage ", stage_.name(),
                       ": expected a teacher with the student's tokenizer, found another "
                       "one in ",
                       teacher->origin,
                       "; between tokenizers, distil through text: a "
                       "rejection_sampling stage with init = the teacher, then sft.from_stage"));
    }
    R1_CHECK(teacher->weights != nullptr);  // the config checks leave stages and folders
    R1_ASSIGN_OR_RETURN(
        teacher_, Policy::Create(teacher->model.spec, context.policy_options(), context.seed()));
    R1_LOG(kInfo) << "stage " << stage_.name() << " learns from " << teacher->origin;
    return teacher_->Load(*teacher->weights);
  }

  int64_t updates_per_step() const {
    return int64_t{config_.prompts_per_step()} * config_.samples_per_prompt() /
           config_.sequences_per_update();
  }

  PromptRow PromptOf(const StageContext& context, uint64_t group_id) const {
    return context.prompts().Prompt(Split::kTrain, context.seed(), context.index(), group_id);
  }

  absl::Status Offer(StageContext& context, int64_t step) const {
    if (!context.is_main() || step >= config_.steps()) return absl::OkStatus();
    std::vector<v1::Lease> leases;
    for (int i = 0; i < config_.prompts_per_step(); ++i) {
      const auto group_id = static_cast<uint64_t>(step * config_.prompts_per_step() + i);
      R1_ASSIGN_OR_RETURN(
          v1::Lease lease,
          MakePromptLease(context.tokenizer(), PromptOf(context, group_id),
                          {.stage_index = context.index(),
                           .group_id = group_id,
                           .samples = config_.samples_per_prompt(),
                           .temperature = stage_.sampling().temperature(),
                           .response_tokens_max = static_cast<uint32_t>(response_tokens_max()),
                           .stop_ids = context.stop_ids(),
                           .policy_version = state_.first_version() + static_cast<uint64_t>(step),
                           .learner_rank = static_cast<uint32_t>(i % context.ranks()),
                           .reward_set = kAnswerRewardSet}));
      leases.push_back(std::move(lease));
    }
    return context.pool().Offer(static_cast<uint64_t>(step), std::move(leases));
  }

  absl::Status Step(StageContext& context) {
    const int64_t step = context.step();
    const double started = RealClock().MonotonicSeconds();
    RolloutPool::TrainStep rollout;
    {
      const StageContext::Timed timed(context, "generate");
      R1_ASSIGN_OR_RETURN(
          rollout, context.pool().AwaitTrainStep(static_cast<uint64_t>(step), context.stop()));
    }
    const double generated = RealClock().MonotonicSeconds();
    RolloutMetrics metrics(response_tokens_max());
    std::map<std::string, double> values;
    std::vector<v1::SampleRecord> records;
    {
      const StageContext::Timed timed(context, "train");
      R1_ASSIGN_OR_RETURN(std::vector<TrainSequence> sequences,
                          MakeSequences(context, rollout.groups, metrics, records));
      R1_ASSIGN_OR_RETURN(const std::vector<UpdateMetrics> updates,
                          Train(context, rollout.group_ids, sequences));
      const ExpertLoad load =
          context.trainer().UpdateCorrectionBias(stage_.optimizer().correction_bias_rate());
      AddPolicyUpdateMetrics(updates, load, RealClock().MonotonicSeconds() - generated, values);
    }
    context.pool().RetireStep(static_cast<uint64_t>(step), 0);
    context.SetProgress(step + 1, context.update() + updates_per_step());
    context.Publish();
    R1_RETURN_IF_ERROR(Offer(context, step + 1));
    const absl::Status evaluated = context.CollectEvaluations();
    if (!evaluated.ok() && !absl::IsCancelled(evaluated)) return evaluated;
    double tokens[1] = {static_cast<double>(metrics.sampled_tokens())};
    context.collectives().AllReduceSum(std::span<double>(tokens));
    values["perf/gen_tokens_per_second"] = tokens[0] / std::max(generated - started, 1e-9);
    metrics.Reduce(context.collectives(), values);
    context.WriteSamples(std::move(records), "", context.step());
    context.WriteStepRow(std::move(values));
    const int64_t every = stage_.eval().every_steps();
    const bool due = every > 0 && context.step() % every == 0 && context.step() < config_.steps();
    if (!due || !context.has_evaluation()) return absl::OkStatus();
    return context.BeginEvaluation(context.Plan(kHeldOutSet, Split::kEval, false));
  }

  // Of this rank, with the teacher's logprobs.
  absl::StatusOr<std::vector<TrainSequence>> MakeSequences(StageContext& context,
                                                           const std::vector<v1::Group>& groups,
                                                           RolloutMetrics& metrics,
                                                           std::vector<v1::SampleRecord>& records) {
    std::vector<TrainSequence> sequences;
    for (const v1::Group& group : groups) {
      const PromptRow row = PromptOf(context, group.group_id());
      R1_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt,
                          EncodePrompt(context.tokenizer(), row));
      metrics.AddGroup(group, false, context.policy_version() - group.policy_version());
      for (const v1::Sample& sample : group.samples()) {
        TrainSequence& sequence =
            sequences.emplace_back(TrainSequence{.group_id = group.group_id(),
                                                 .sample_index = sample.sample_index(),
                                                 .tokens = prompt,
                                                 .first_target = static_cast<int>(prompt.size())});
        sequence.tokens.insert(sequence.tokens.end(), sample.token_ids().begin(),
                               sample.token_ids().end());
        records.push_back(
            MakeSampleRecord(stage_.name(), context.step(), "train", row, group, sample));
      }
    }
    // The student's own logprobs come first: they are the ratio's denominator, and of the forward
    // that counts the experts' load.
    const double temperature = stage_.sampling().temperature();
    R1_ASSIGN_OR_RETURN(auto own,
                        context.trainer().Logprobs(context.policy(), sequences, temperature, true));
    R1_ASSIGN_OR_RETURN(auto teacher,
                        context.trainer().Logprobs(*teacher_, sequences, temperature, false));
    size_t next = 0;
    for (const v1::Group& group : groups) {
      for (const v1::Sample& sample : group.samples()) {
        metrics.AddMismatch(
            own[next++], {sample.logprobs().data(), static_cast<size_t>(sample.logprobs_size())});
      }
    }
    for (size_t i = 0; i < sequences.size(); ++i) {
      sequences[i].old_logprobs = std::move(own[i]);
      sequences[i].reference_logprobs = std::move(teacher[i]);
    }
    return sequences;
  }

  absl::StatusOr<std::vector<UpdateMetrics>> Train(StageContext& context,
                                                   const std::vector<uint64_t>& group_ids,
                                                   std::vector<TrainSequence>& sequences) {
    // The plan covers the samples of all ranks, so that every rank cuts it alike.
    std::vector<SequenceId> ids;
    for (const uint64_t group_id : group_ids) {
      for (int i = 0; i < config_.samples_per_prompt(); ++i)
        ids.push_back({group_id, static_cast<uint32_t>(i)});
    }
    std::map<SequenceId, size_t> own;
    for (size_t i = 0; i < sequences.size(); ++i)
      own[{sequences[i].group_id, sequences[i].sample_index}] = i;
    std::vector<UpdateMetrics> updates;
    for (const std::vector<SequenceId>& minibatch : ShuffleIntoMinibatches(
             std::move(ids), config_.sequences_per_update(), context.seed(), context.index(),
             static_cast<uint64_t>(context.step()), /*epoch=*/0)) {
      std::vector<TrainSequence> part;
      for (const SequenceId& id : minibatch) {
        const auto found = own.find(id);
        if (found != own.end()) part.push_back(std::move(sequences[found->second]));
      }
      const int64_t update = context.update() + static_cast<int64_t>(updates.size());
      const double lr =
          LearningRate(stage_.optimizer(), update, config_.steps() * updates_per_step());
      R1_ASSIGN_OR_RETURN(
          UpdateMetrics metrics,
          context.trainer().TrainPolicy(part,
                                        {.algorithm = loss_,
                                         .aggregation = LossAggregation::kTokenMean,
                                         .response_tokens_max = response_tokens_max(),
                                         .count_expert_load = false},
                                        {.optimizer = stage_.optimizer(),
                                         .lr = lr,
                                         .temperature = stage_.sampling().temperature()}));
      updates.push_back(metrics);
    }
    return updates;
  }

  const v1::DistillConfig config_;
  const v1::StageConfig stage_;
  const ReverseKl loss_;
  v1::DistillState state_;
  std::unique_ptr<Policy> teacher_;
};

R1_REGISTER(StageRegistry, "distill",
            [](const v1::StageConfig& stage) { return std::make_unique<DistillStage>(stage); });

}  // namespace
}  // namespace r1::learner
