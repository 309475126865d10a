// The sft stage: supervised fine-tuning on demonstrations, loss on response tokens only
// (DeepSeek-R1's cold start, its SFT on rejection-sampled data, and off-line distillation). It runs
// for a number of updates or of epochs. It can stop by a dev check, inside a window of sampled
// accuracy: RL starts from a policy that is right about half the time, whatever the seed. A check
// that lands above the window goes back to the weights of the check before and continues at half
// the learning rate.

#include <algorithm>

#include "common/log.h"
#include "common/permutation.h"
#include "common/schedule.h"
#include "learner/stages/stage.h"
#include "learner/stages/stage_metrics.h"

namespace r1::learner {
namespace {

// Smaller steps than this no longer move the accuracy: a window so narrow is taken as reached.
constexpr double kLearningRateScaleMin = 1.0 / 1024;
// Every sft stage of a run draws the same demonstrations from the task.
constexpr uint32_t kDemonstrationSet = 0;

class SftStage : public Stage {
 public:
  explicit SftStage(const v1::StageConfig& stage) : config_(stage.sft()), stage_(stage) {}

  int64_t steps() const override {
    return wants_check() || config_.epochs() > 0 ? 0 : config_.updates_max();
  }
  int64_t response_tokens_max() const override {
    return static_cast<int64_t>(ScheduleAt(stage_.sampling().response_tokens_max(), 0));
  }

  absl::Status Run(StageContext& context) override {
    Restore(context);
    for (;;) {
      if (context.StopRequested()) return absl::CancelledError("stopped");
      R1_ASSIGN_OR_RETURN(const bool reached, CheckIfDue(context));
      if (reached || context.update() >= updates_) return absl::OkStatus();
      R1_RETURN_IF_ERROR(EvaluateIfDue(context));
      R1_RETURN_IF_ERROR(Train(context));
      context.CheckpointIfDue();
    }
  }

 private:
  bool wants_check() const { return config_.stop_accuracy_high() > 0; }

  // Rows of an epoch.
  uint64_t Rows(const StageContext& context) const {
    if (context.training_set() != nullptr) return context.training_set()->size();
    if (context.dataset() != nullptr) return context.dataset()->size(Split::kTrain);
    return static_cast<uint64_t>(config_.demonstrations());
  }

  void Restore(StageContext& context) {
    updates_ = config_.updates_max();
    if (config_.epochs() > 0) {
      rows_ = Rows(context) * static_cast<uint64_t>(config_.epochs());
      const auto per_update = static_cast<uint64_t>(config_.sequences_per_update());
      updates_ = static_cast<int64_t>((rows_ + per_update - 1) / per_update);
    }
    state_ = context.LoadState<v1::SftState>();
    if (state_.lr_scale() == 0) {  // never stored
      state_.set_lr_scale(1);
      state_.set_checked_update(-1);
    }
    if (!wants_check()) return;
    parameters_.resize(context.policy().parameters().size());
    first_moment_.resize(parameters_.size());
    second_moment_.resize(parameters_.size());
    router_biases_.resize(context.policy().router_biases().size());
    context.KeepTensor("rollback/parameters", parameters_);
    context.KeepTensor("rollback/first_moment", first_moment_);
    context.KeepTensor("rollback/second_moment", second_moment_);
    context.KeepTensor("rollback/router_biases", router_biases_);
  }

  // Besides the evaluation of the stage's end, which the run itself does.
  absl::Status EvaluateIfDue(StageContext& context) {
    const int64_t every = stage_.eval().every_steps();
    const int64_t update = context.update();
    const bool due = every > 0 && update > 0 && update % every == 0 &&
                     update != state_.evaluated_update() && context.has_evaluation();
    if (!due) return absl::OkStatus();
    context.Publish();
    R1_RETURN_IF_ERROR(context.Evaluate(context.Plan(kHeldOutSet, Split::kEval, false)).status());
    state_.set_evaluated_update(update);
    context.StoreState(state_);
    return absl::OkStatus();
  }

  // True when the dev accuracy is in the window.
  absl::StatusOr<bool> CheckIfDue(StageContext& context) {
    const int64_t update = context.update();
    if (!wants_check() || update % config_.check_every_updates() != 0 ||
        update == state_.checked_update())
      return false;
    EvalPlan plan = context.Plan(kDevSet, Split::kDev, false);
    plan.prompts = config_.check_prompts();
    plan.samples_per_prompt = config_.check_samples_per_prompt();
    plan.temperature = 1;
    plan.greedy = false;
    context.Publish();
    R1_ASSIGN_OR_RETURN(const EvalResult result, context.Evaluate(plan));
    state_.set_checked_update(update);
    const bool reached = JudgeAndMaybeGoBack(context, result.pass_at_1);
    context.StoreState(state_);
    return reached;
  }

  bool JudgeAndMaybeGoBack(StageContext& context, double accuracy) {
    if (accuracy < config_.stop_accuracy_low()) {
      KeepWeights(context);
      return false;
    }
    if (accuracy <= config_.stop_accuracy_high()) return true;
    if (!state_.can_go_back() || state_.lr_scale() <= kLearningRateScaleMin) {
      R1_LOG(kWarning) << "stage " << stage_.name() << ": dev accuracy " << accuracy
                       << " is above the window [" << config_.stop_accuracy_low() << ", "
                       << config_.stop_accuracy_high()
                       << "] and there is nothing to go back to; the stage ends here";
      return true;
    }
    GoBack(context);
    state_.set_lr_scale(state_.lr_scale() / 2);
    if (context.is_main()) {
      R1_LOG(kInfo) << "dev accuracy " << accuracy
                    << " is above the window: back to the check before, learning rate x "
                    << state_.lr_scale();
    }
    return false;
  }

  void KeepWeights(StageContext& context) {
    std::ranges::copy(context.policy().parameters(), parameters_.begin());
    std::ranges::copy(context.optimizer().first_moment(), first_moment_.begin());
    std::ranges::copy(context.optimizer().second_moment(), second_moment_.begin());
    std::ranges::copy(context.policy().router_biases(), router_biases_.begin());
    state_.set_kept_optimizer_updates(context.optimizer().updates());
    state_.set_can_go_back(true);
  }

  void GoBack(StageContext& context) {
    std::ranges::copy(parameters_, context.policy().parameters().begin());
    std::ranges::copy(first_moment_, context.optimizer().first_moment().begin());
    std::ranges::copy(second_moment_, context.optimizer().second_moment().begin());
    std::ranges::copy(router_biases_, context.policy().router_biases().begin());
    context.optimizer().set_updates(state_.kept_optimizer_updates());
  }

  absl::StatusOr<TrainSequence> Demonstration(const StageContext& context,
                                              uint64_t position) const {
    if (context.training_set() != nullptr) {
      TrainText text = context.training_set()->Sequence(context.seed(), context.index(), position);
      return TrainSequence{
          .group_id = position, .tokens = std::move(text.ids), .targets = std::move(text.targets)};
    }
    TextRow row;
    if (context.dataset() != nullptr) {
      row = context.dataset()->Demonstration(context.seed(), context.index(), position);
    } else {
      const auto size = static_cast<uint64_t>(config_.demonstrations());
      const uint64_t index =
          PermutedIndex(position % size, size, context.seed(), context.index(), position / size);
      row = context.task()->Demonstration(context.seed(), kDemonstrationSet, index);
    }
    R1_ASSIGN_OR_RETURN(EncodedText text, EncodeText(context.tokenizer(), row));
    return TrainSequence{
        .group_id = position, .tokens = std::move(text.ids), .first_target = text.first_target};
  }

  absl::Status Train(StageContext& context) {
    const int64_t update = context.update();
    const double started = RealClock().MonotonicSeconds();
    std::vector<TrainSequence> sequences;
    for (int i = context.rank(); i < config_.sequences_per_update(); i += context.ranks()) {
      const uint64_t position =
          static_cast<uint64_t>(update) * static_cast<uint64_t>(config_.sequences_per_update()) +
          static_cast<uint64_t>(i);
      if (rows_ > 0 && position >= rows_) break;  // the last update of the last epoch
      R1_ASSIGN_OR_RETURN(TrainSequence sequence, Demonstration(context, position));
      sequences.push_back(std::move(sequence));
    }
    UpdateMetrics metrics;
    ExpertLoad load;
    {
      const StageContext::Timed timed(context, "train");
      const double lr = LearningRate(stage_.optimizer(), update, updates_) * state_.lr_scale();
      R1_ASSIGN_OR_RETURN(metrics, context.trainer().TrainNextToken(
                                       sequences, {.optimizer = stage_.optimizer(), .lr = lr}));
      load = context.trainer().UpdateCorrectionBias(stage_.optimizer().correction_bias_rate());
    }
    context.SetProgress(update + 1, update + 1);
    context.WriteStepRow(NextTokenMetrics(metrics, load, RealClock().MonotonicSeconds() - started));
    return absl::OkStatus();
  }

  const v1::SftConfig config_;
  const v1::StageConfig stage_;
  v1::SftState state_;
  int64_t updates_ = 0;  // length of the stage
  uint64_t rows_ = 0;    // positions to train; 0 = without end
  // The weights of the last check below the window, with Adam's state.
  std::vector<float> parameters_;
  std::vector<float> first_moment_;
  std::vector<float> second_moment_;
  std::vector<float> router_biases_;
};

R1_REGISTER(StageRegistry, "sft",
            [](const v1::StageConfig& stage) { return std::make_unique<SftStage>(stage); });

}  // namespace
}  // namespace r1::learner
