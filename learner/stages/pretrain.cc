// The pretrain stage: next-token training on a task's documents, standing for DeepSeek-V3-Base. The
// base is accepted by a dev check (prompts in textbook form, sampled), not by a number of steps:
// how many updates a seed needs varies a lot, and neither the count nor the loss tells whether the
// skill is there (measured: .29 and .33 for a weak and a good base).

#include <algorithm>

#include "common/log.h"
#include "common/permutation.h"
#include "common/schedule.h"
#include "learner/stages/stage.h"
#include "learner/stages/stage_metrics.h"

namespace r1::learner {
namespace {

class PretrainStage : public Stage {
 public:
  explicit PretrainStage(const v1::StageConfig& stage) : config_(stage.pretrain()), stage_(stage) {}

  int64_t steps() const override {
    return config_.accept_textbook_accuracy() > 0 ? 0 : config_.updates_max();
  }
  int64_t response_tokens_max() const override {
    return static_cast<int64_t>(ScheduleAt(stage_.sampling().response_tokens_max(), 0));
  }

  absl::Status Run(StageContext& context) override {
    if (context.task() == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("stage ", stage_.name(), ": pretrain reads a task, not data.train_files"));
    }
    state_ = context.LoadState<v1::PretrainState>();
    for (;;) {
      if (context.StopRequested()) return absl::CancelledError("stopped");
      R1_RETURN_IF_ERROR(CheckIfDue(context));
      R1_ASSIGN_OR_RETURN(const bool done, IsDone(context.update()));
      if (done) return absl::OkStatus();
      R1_RETURN_IF_ERROR(Train(context));
      context.CheckpointIfDue();
    }
  }

 private:
  bool wants_check() const { return config_.accept_textbook_accuracy() > 0; }

  absl::Status CheckIfDue(StageContext& context) {
    const int64_t update = context.update();
    const bool due = wants_check() && state_.accepted_update() == 0 && update > 0 &&
                     update % config_.check_every_updates() == 0 &&
                     update != state_.checked_update();
    if (!due) return absl::OkStatus();
    EvalPlan plan = context.Plan(kDevTextbookSet, Split::kDev, true);
    plan.prompts = config_.check_prompts();
    plan.samples_per_prompt = 1;
    plan.temperature = 1;
    plan.greedy = false;
    context.Publish();
    R1_ASSIGN_OR_RETURN(const EvalResult result, context.Evaluate(plan));
    state_.set_checked_update(update);
    if (result.pass_at_1 >= config_.accept_textbook_accuracy()) {
      state_.set_accepted_update(update);
      if (context.is_main()) {
        R1_LOG(kInfo) << "base accepted at update " << update << ": textbook accuracy "
                      << result.pass_at_1;
      }
    }
    context.StoreState(state_);
    return absl::OkStatus();
  }

  absl::StatusOr<bool> IsDone(int64_t update) const {
    if (state_.accepted_update() > 0)
      return update >= state_.accepted_update() + config_.accepted_decay_updates();
    if (update < config_.updates_max()) return false;
    if (!wants_check()) return true;
    return absl::FailedPreconditionError(
        absl::StrCat("stage ", stage_.name(),
                     ": the base was not accepted after updates_max = ", config_.updates_max(),
                     " updates (textbook accuracy below ", config_.accept_textbook_accuracy(),
                     "); raise pretrain.updates_max or lower pretrain.accept_textbook_accuracy in "
                     "a fresh run.dir"));
  }

  // The stage's schedule until the base is accepted, then a cosine to its end.
  double LearningRateAt(int64_t update) const {
    v1::OptimizerConfig optimizer = stage_.optimizer();
    if (state_.accepted_update() > 0) {
      optimizer.set_decay("cosine");
      optimizer.set_decay_from_update(state_.accepted_update());
      optimizer.set_decay_updates(config_.accepted_decay_updates());
    }
    return LearningRate(optimizer, update, config_.updates_max());
  }

  absl::Status Train(StageContext& context) {
    const int64_t update = context.update();
    std::vector<TrainSequence> sequences;
    {
      const StageContext::Timed timed(context, "data");
      const auto size = static_cast<uint64_t>(config_.documents());
      for (int i = context.rank(); i < config_.sequences_per_update(); i += context.ranks()) {
        const uint64_t position =
            static_cast<uint64_t>(update) * static_cast<uint64_t>(config_.sequences_per_update()) +
            static_cast<uint64_t>(i);
        const uint64_t row =
            PermutedIndex(position % size, size, context.seed(), context.index(), position / size);
        const TextRow document = context.task()->Document(context.seed(), context.index(), row);
        R1_ASSIGN_OR_RETURN(EncodedText text, EncodeText(context.tokenizer(), document));
        sequences.push_back({.group_id = position,
                             .tokens = std::move(text.ids),
                             .first_target = text.first_target});
      }
    }
    UpdateMetrics metrics;
    ExpertLoad load;
    const double started = RealClock().MonotonicSeconds();
    {
      const StageContext::Timed timed(context, "train");
      R1_ASSIGN_OR_RETURN(
          metrics, context.trainer().TrainNextToken(
                       sequences, {.optimizer = stage_.optimizer(), .lr = LearningRateAt(update)}));
      load = context.trainer().UpdateCorrectionBias(stage_.optimizer().correction_bias_rate());
    }
    context.SetProgress(update + 1, update + 1);
    context.WriteStepRow(NextTokenMetrics(metrics, load, RealClock().MonotonicSeconds() - started));
    return absl::OkStatus();
  }

  const v1::PretrainConfig config_;
  const v1::StageConfig stage_;
  v1::PretrainState state_;
};

R1_REGISTER(StageRegistry, "pretrain",
            [](const v1::StageConfig& stage) { return std::make_unique<PretrainStage>(stage); });

}  // namespace
}  // namespace r1::learner
