// The grpo stage: lease, train, publish (DeepSeekMath 2402.03300 §4.1; DeepSeek-R1). A step
// consumes prompts_per_step groups of samples_per_prompt, generated wholly by version max(first of
// the stage, step - policy_lag_max), and makes one update for each sequences_per_update and inner
// epoch.

#include <algorithm>
#include <map>

#include "common/schedule.h"
#include "learner/algorithms/algorithm.h"
#include "learner/reward_sets.h"
#include "learner/stages/prompt_lease.h"
#include "learner/stages/rollout_metrics.h"
#include "learner/stages/stage.h"
#include "learner/stages/stage_metrics.h"

namespace r1::learner {
namespace {

// Samples whose logprobs are compared with the workers' in a step that trains none.
constexpr size_t kMismatchProbeSamples = 64;

// A sample of this rank and what training makes of it.
struct ScoredSample {
  const v1::Group* group = nullptr;
  const v1::Sample* sample = nullptr;
  double advantage = 0;
  int sequence = -1;  // index of its training sequence; -1 = not trained
};

struct ScoredStep {
  std::vector<ScoredSample> samples;
  std::vector<TrainSequence> sequences;
  uint64_t equal_groups = 0;
};

class GrpoStage : public Stage {
 public:
  explicit GrpoStage(const v1::StageConfig& stage) : config_(stage.grpo()), stage_(stage) {}

  int64_t steps() const override { return config_.steps(); }
  int64_t response_tokens_max() const override {
    return static_cast<int64_t>(ScheduleMax(stage_.sampling().response_tokens_max()));
  }

  absl::Status Run(StageContext& context) override {
    R1_RETURN_IF_ERROR(Prepare(context));
    for (int64_t step = context.step(); step <= context.step() + config_.policy_lag_max(); ++step) {
      R1_RETURN_IF_ERROR(Offer(context, step));
    }
    R1_RETURN_IF_ERROR(context.ResumeEvaluations());
    while (context.step() < config_.steps()) {
      if (context.StopRequested()) return absl::CancelledError("stopped");
      R1_RETURN_IF_ERROR(Step(context));
      context.CheckpointIfDue();
    }
    return context.CollectEvaluations();
  }

 private:
  absl::Status Prepare(StageContext& context) {
    const auto* factory = AlgorithmRegistry::FindOrNull("grpo");
    R1_CHECK(factory != nullptr);
    algorithm_ = (*factory)(config_);
    R1_ASSIGN_OR_RETURN(aggregation_, ParseLossAggregation(config_.loss_aggregation()));
    state_ = context.LoadState<v1::GrpoState>();
    if (state_.first_version() == 0) {
      context.Publish();
      state_.set_first_version(context.policy_version());
      context.StoreState(state_);
    }
    const auto& kl_points = config_.kl_coef().points();
    uses_reference_ = std::any_of(kl_points.begin(), kl_points.end(),
                                  [](const auto& point) { return point.value() > 0; });
    if (!uses_reference_) return absl::OkStatus();
    R1_ASSIGN_OR_RETURN(reference_, Policy::Create(context.policy().spec(),
                                                   context.policy_options(), context.seed()));
    if (context.reference() == nullptr) return CopyToReference(context);
    return reference_->Load(*context.reference());
  }

  absl::Status CopyToReference(StageContext& context) {
    auto snapshot = std::make_shared<WeightsSnapshot>(context.policy().Snapshot(0));
    context.KeepReference(snapshot);
    return reference_->Load(*snapshot);
  }

  int64_t updates_per_epoch() const {
    return int64_t{config_.prompts_per_step()} * config_.samples_per_prompt() /
           config_.sequences_per_update();
  }
  int64_t updates_per_step() const { return updates_per_epoch() * config_.inner_epochs(); }

  // --- Generation ---

  absl::Status Offer(StageContext& context, int64_t step) const {
    if (!context.is_main() || step >= config_.steps()) return absl::OkStatus();
    std::vector<v1::Lease> leases;
    for (int i = 0; i < config_.prompts_per_step(); ++i) {
      R1_ASSIGN_OR_RETURN(v1::Lease lease, MakeLease(context, step, i));
      leases.push_back(std::move(lease));
    }
    return context.pool().Offer(static_cast<uint64_t>(step), std::move(leases));
  }

  absl::StatusOr<v1::Lease> MakeLease(const StageContext& context, int64_t step,
                                      int index_in_step) const {
    const auto group_id = static_cast<uint64_t>(step * config_.prompts_per_step() + index_in_step);
    const int64_t update = step * updates_per_step();
    const int64_t version = std::max<int64_t>(0, step - config_.policy_lag_max());
    return MakePromptLease(
        context.tokenizer(),
        context.prompts().Prompt(Split::kTrain, context.seed(), context.index(), group_id),
        {.stage_index = context.index(),
         .group_id = group_id,
         .samples = config_.samples_per_prompt(),
         .temperature = stage_.sampling().temperature(),
         .response_tokens_max = static_cast<uint32_t>(ResponseTokensMaxAt(update)),
         .stop_ids = context.stop_ids(),
         .policy_version = state_.first_version() + static_cast<uint64_t>(version),
         .learner_rank = static_cast<uint32_t>(index_in_step % context.ranks()),
         .reward_set = TrainRewardSet(stage_, update)});
  }

  // Length limit and reward mix of a step are those of its first update.
  int64_t ResponseTokensMaxAt(int64_t update) const {
    return static_cast<int64_t>(ScheduleAt(stage_.sampling().response_tokens_max(), update));
  }

  // --- One step ---

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
    ScoredStep scored;
    {
      const StageContext::Timed timed(context, "train");
      R1_ASSIGN_OR_RETURN(scored, Score(context, rollout.groups, metrics));
      R1_ASSIGN_OR_RETURN(const std::vector<UpdateMetrics> updates,
                          Train(context, rollout.group_ids, scored, metrics));
      const ExpertLoad load =
          context.trainer().UpdateCorrectionBias(stage_.optimizer().correction_bias_rate());
      AddPolicyUpdateMetrics(updates, load, RealClock().MonotonicSeconds() - generated, values);
    }
    context.pool().RetireStep(static_cast<uint64_t>(step), scored.equal_groups);
    context.SetProgress(step + 1, context.update() + updates_per_step());
    context.Publish();
    R1_RETURN_IF_ERROR(Offer(context, step + 1 + config_.policy_lag_max()));

    // An earlier step's evaluation ends before this step's row, so that the order of rows never
    // depends on timing. When the run is stopped meanwhile, it stays pending and the checkpoint
    // holds it.
    const absl::Status evaluated = context.CollectEvaluations();
    if (!evaluated.ok() && !absl::IsCancelled(evaluated)) return evaluated;
    double tokens[1] = {static_cast<double>(metrics.sampled_tokens())};
    context.collectives().AllReduceSum(std::span<double>(tokens));
    // On-policy, workers generate while the learner waits; with a lag they do so all the time.
    const double generating = config_.policy_lag_max() == 0
                                  ? generated - started
                                  : RealClock().MonotonicSeconds() - started;
    values["perf/gen_tokens_per_second"] = tokens[0] / std::max(generating, 1e-9);
    metrics.Reduce(context.collectives(), values);
    AddLedgerMetrics(context, values);
    WriteSamples(context, scored.samples);
    context.WriteStepRow(std::move(values));
    return BeginEvaluationIfDue(context);
  }

  static void AddLedgerMetrics(StageContext& context, std::map<std::string, double>& values) {
    if (!context.is_main()) return;
    const v1::GroupCounters counters = context.pool().counters();
    values["groups/expired"] = static_cast<double>(counters.expired());
    values["groups/failed"] = static_cast<double>(counters.failed());
  }

  absl::Status BeginEvaluationIfDue(StageContext& context) const {
    const int64_t every = stage_.eval().every_steps();
    // The stage's end is evaluated by the run itself.
    if (every == 0 || context.step() % every != 0 || context.step() == config_.steps())
      return absl::OkStatus();
    return context.BeginEvaluation(context.Plan(kHeldOutSet, Split::kEval, false));
  }

  // --- Training ---

  // Samples of this rank with their advantages, and the sequences to train: all but masked samples
  // and, when equal_groups = "drop", groups without signal.
  absl::StatusOr<ScoredStep> Score(const StageContext& context,
                                   const std::vector<v1::Group>& groups,
                                   RolloutMetrics& metrics) const {
    ScoredStep step;
    for (const v1::Group& group : groups) {
      std::vector<double> rewards;
      for (const v1::Sample& sample : group.samples()) {
        if (!sample.masked()) rewards.push_back(sample.reward());
      }
      const bool equal = rewards.empty() ||
                         *std::ranges::min_element(rewards) == *std::ranges::max_element(rewards);
      metrics.AddGroup(group, equal, context.policy_version() - group.policy_version());
      step.equal_groups += equal ? 1 : 0;
      const std::vector<double> advantages =
          rewards.empty() ? rewards : algorithm_->Advantages(rewards);
      const bool dropped = equal && config_.equal_groups() == "drop";
      R1_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt,
                          EncodePromptOf(context, group.group_id()));
      size_t next_advantage = 0;
      for (const v1::Sample& sample : group.samples()) {
        ScoredSample& scored =
            step.samples.emplace_back(ScoredSample{.group = &group, .sample = &sample});
        if (sample.masked()) continue;
        scored.advantage = advantages[next_advantage++];
        if (dropped) continue;
        scored.sequence = static_cast<int>(step.sequences.size());
        step.sequences.push_back(MakeSequence(scored, prompt));
      }
    }
    return step;
  }

  static absl::StatusOr<std::vector<int32_t>> EncodePromptOf(const StageContext& context,
                                                             uint64_t group_id) {
    return EncodePrompt(context.tokenizer(), context.prompts().Prompt(Split::kTrain, context.seed(),
                                                                      context.index(), group_id));
  }

  static TrainSequence MakeSequence(const ScoredSample& scored,
                                    const std::vector<int32_t>& prompt) {
    TrainSequence sequence{.group_id = scored.group->group_id(),
                           .sample_index = scored.sample->sample_index(),
                           .tokens = prompt,
                           .first_target = static_cast<int>(prompt.size()),
                           .advantage = scored.advantage};
    sequence.tokens.insert(sequence.tokens.end(), scored.sample->token_ids().begin(),
                           scored.sample->token_ids().end());
    return sequence;
  }

  absl::StatusOr<std::vector<UpdateMetrics>> Train(StageContext& context,
                                                   const std::vector<uint64_t>& group_ids,
                                                   ScoredStep& step, RolloutMetrics& metrics) {
    const bool single_update = updates_per_step() == 1;
    R1_RETURN_IF_ERROR(AddReferenceLogprobs(context, step.sequences));
    // The ratio's denominator is the learner's logprob before the step's first update. A step with
    // one update takes it from that update's own forward.
    if (!single_update) R1_RETURN_IF_ERROR(AddOldLogprobs(context, step.sequences));
    R1_RETURN_IF_ERROR(ProbeMismatch(context, step, metrics));
    std::vector<UpdateMetrics> updates;
    for (int epoch = 0; epoch < config_.inner_epochs(); ++epoch) {
      R1_RETURN_IF_ERROR(TrainEpoch(context, group_ids, epoch, step.sequences, updates));
    }
    CompareWithWorkers(step, metrics);
    return updates;
  }

  absl::Status AddReferenceLogprobs(StageContext& context, std::vector<TrainSequence>& sequences) {
    if (!uses_reference_) return absl::OkStatus();
    const int64_t every = config_.reference_refresh_updates();
    const int64_t before = context.update() - updates_per_step();
    // At the first step boundary at which another `every` updates have gone by.
    if (every > 0 && before >= 0 && context.update() / every > before / every) {
      R1_RETURN_IF_ERROR(CopyToReference(context));
    }
    R1_ASSIGN_OR_RETURN(
        auto logprobs,
        context.trainer().Logprobs(*reference_, sequences, stage_.sampling().temperature(), false));
    for (size_t i = 0; i < sequences.size(); ++i)
      sequences[i].reference_logprobs = std::move(logprobs[i]);
    return absl::OkStatus();
  }

  absl::Status AddOldLogprobs(StageContext& context, std::vector<TrainSequence>& sequences) const {
    R1_ASSIGN_OR_RETURN(auto logprobs,
                        context.trainer().Logprobs(context.policy(), sequences,
                                                   stage_.sampling().temperature(), true));
    for (size_t i = 0; i < sequences.size(); ++i)
      sequences[i].old_logprobs = std::move(logprobs[i]);
    return absl::OkStatus();
  }

  absl::Status TrainEpoch(StageContext& context, const std::vector<uint64_t>& group_ids, int epoch,
                          std::vector<TrainSequence>& sequences,
                          std::vector<UpdateMetrics>& updates) {
    // The plan covers all samples of the step, trained or not, so that every rank cuts it alike.
    std::vector<SequenceId> ids;
    for (const uint64_t group_id : group_ids) {
      for (int i = 0; i < config_.samples_per_prompt(); ++i)
        ids.push_back({group_id, static_cast<uint32_t>(i)});
    }
    const auto minibatches =
        ShuffleIntoMinibatches(std::move(ids), config_.sequences_per_update(), context.seed(),
                               context.index(), static_cast<uint64_t>(context.step()), epoch);
    std::map<SequenceId, size_t> own;
    for (size_t i = 0; i < sequences.size(); ++i)
      own[{sequences[i].group_id, sequences[i].sample_index}] = i;
    for (const std::vector<SequenceId>& minibatch : minibatches) {
      std::vector<size_t> indices;
      std::vector<TrainSequence> part;
      for (const SequenceId& id : minibatch) {
        const auto found = own.find(id);
        if (found == own.end()) continue;
        indices.push_back(found->second);
        part.push_back(std::move(sequences[found->second]));
      }
      const int64_t update = context.update() + static_cast<int64_t>(updates.size());
      const PolicyLoss loss{.algorithm = *algorithm_,
                            .aggregation = aggregation_,
                            .response_tokens_max = ResponseTokensMaxAt(context.update()),
                            .kl_coef = ScheduleAt(config_.kl_coef(), update),
                            .count_expert_load = updates_per_step() == 1};
      const double lr =
          LearningRate(stage_.optimizer(), update, config_.steps() * updates_per_step());
      absl::StatusOr<UpdateMetrics> metrics =
          context.trainer().TrainPolicy(part, loss,
                                        {.optimizer = stage_.optimizer(),
                                         .lr = lr,
                                         .temperature = stage_.sampling().temperature()});
      for (size_t i = 0; i < indices.size(); ++i) sequences[indices[i]] = std::move(part[i]);
      R1_RETURN_IF_ERROR(metrics.status());
      metrics->lr = lr;  // also of an update without sequences
      updates.push_back(*metrics);
    }
    return absl::OkStatus();
  }

  // --- Mismatch between learner and workers, on the same weights ---

  static std::span<const float> WorkerLogprobs(const v1::Sample& sample) {
    return {sample.logprobs().data(), static_cast<size_t>(sample.logprobs_size())};
  }

  // With a lag the step's samples come from older weights, and a comparison would say nothing about
  // the engines.
  bool comparable() const { return config_.policy_lag_max() == 0; }

  void CompareWithWorkers(const ScoredStep& step, RolloutMetrics& metrics) const {
    if (!comparable()) return;
    for (const ScoredSample& scored : step.samples) {
      if (scored.sequence < 0) continue;
      metrics.AddMismatch(step.sequences[static_cast<size_t>(scored.sequence)].old_logprobs,
                          WorkerLogprobs(*scored.sample));
    }
  }

  // A step whose groups are all equal trains nothing; some of its samples are compared all the
  // same.
  absl::Status ProbeMismatch(StageContext& context, const ScoredStep& step,
                             RolloutMetrics& metrics) const {
    if (!comparable() || !step.sequences.empty()) return absl::OkStatus();
    std::vector<TrainSequence> sequences;
    for (size_t i = 0; i < std::min(step.samples.size(), kMismatchProbeSamples); ++i) {
      R1_ASSIGN_OR_RETURN(const auto prompt,
                          EncodePromptOf(context, step.samples[i].group->group_id()));
      sequences.push_back(MakeSequence(step.samples[i], prompt));
    }
    R1_ASSIGN_OR_RETURN(const auto logprobs,
                        context.trainer().Logprobs(context.policy(), sequences,
                                                   stage_.sampling().temperature(), false));
    for (size_t i = 0; i < logprobs.size(); ++i) {
      metrics.AddMismatch(logprobs[i], WorkerLogprobs(*step.samples[i].sample));
    }
    return absl::OkStatus();
  }

  void WriteSamples(StageContext& context, const std::vector<ScoredSample>& samples) const {
    if (!context.is_main()) return;
    std::vector<v1::SampleRecord> records;
    PromptRow row;
    for (const ScoredSample& scored : samples) {
      const v1::Group& group = *scored.group;
      if (records.empty() || records.back().group_id() != group.group_id()) {
        row = context.prompts().Prompt(Split::kTrain, context.seed(), context.index(),
                                       group.group_id());
      }
      v1::SampleRecord& record = records.emplace_back(
          MakeSampleRecord(stage_.name(), context.step(), "train", row, group, *scored.sample));
      record.set_advantage(scored.advantage);
    }
    context.WriteSamples(std::move(records), "", context.step());
  }

  const v1::GrpoConfig config_;
  const v1::StageConfig stage_;
  std::unique_ptr<Algorithm> algorithm_;
  LossAggregation aggregation_ = LossAggregation::kSeqMeanTokenMean;
  v1::GrpoState state_;
  bool uses_reference_ = false;
  std::unique_ptr<Policy> reference_;
};

R1_REGISTER(StageRegistry, "grpo",
            [](const v1::StageConfig& stage) { return std::make_unique<GrpoStage>(stage); });

}  // namespace
}  // namespace r1::learner
