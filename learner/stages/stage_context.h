// What a stage has of the run: the parts it works with, its progress, and the services that every
// stage needs (publish, evaluate, record, checkpoint, stop). The same calls must be made on every
// rank, in the same order; on ranks above 0 the services do their collective share only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/chat_template_files.h"
#include "common/clock.h"
#include "common/dataset.h"
#include "common/prompt_source.h"
#include "common/status.h"
#include "common/stop_ids.h"
#include "common/stop_signal.h"
#include "common/tasks/task.h"
#include "common/tokenizer.h"
#include "common/training_set.h"
#include "learner/collectives.h"
#include "learner/optimizer.h"
#include "learner/policy/policy.h"
#include "learner/rollout_pool.h"
#include "learner/run_recorder.h"
#include "learner/stages/evaluation.h"
#include "learner/status/status_board.h"
#include "learner/trainer.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace r1::learner {

// Files of a rejection_sampling stage NAME: <run>/datasets/NAME + suffix.
inline constexpr char kDatasetSuffix[] = ".jsonl";
inline constexpr char kPromptsSuffix[] = ".prompts.jsonl";
inline constexpr char kDatasetReportSuffix[] = ".report.json";

// Parts of the run that outlive its stages. Borrowed.
struct RunParts {
  const v1::Config& config;
  const Tokenizer& tokenizer;
  Collectives& collectives;
  RolloutPool& pool;
  Policy& policy;
  AdamW& optimizer;
  Trainer& trainer;
  const std::string& device;  // PolicyOptions::device
  const StopSignal& stop;
  // Rank 0 only, else null.
  RunRecorder* recorder = nullptr;
  StatusBoard* board = nullptr;
};

// Not thread-safe.
class StageContext {
 public:
  // `state` is what a checkpoint remembers of the run; at the start of a stage its stage fields are
  // reset.
  StageContext(const RunParts& parts, const v1::StageConfig& config, uint32_t index,
               v1::CheckpointState& state);

  // Opens the task or the files of the stage.
  [[nodiscard]] absl::Status LoadData();

  // --- Parts ---
  const v1::Config& run() const { return parts_.config; }
  const v1::StageConfig& config() const { return config_; }
  uint32_t index() const { return index_; }
  const std::string& isa() const { return state_.numerics().isa(); }
  // Of a second policy, which computes where the trained one does.
  PolicyOptions policy_options() const { return {.isa = isa(), .device = parts_.device}; }
  uint64_t seed() const { return parts_.config.run().seed(); }
  int rank() const { return parts_.collectives.rank(); }
  int ranks() const { return parts_.collectives.size(); }
  bool is_main() const { return rank() == 0; }
  const Tokenizer& tokenizer() const { return parts_.tokenizer; }
  std::vector<int32_t> stop_ids() const { return StopIds(parts_.policy.spec(), tokenizer()); }
  Collectives& collectives() { return parts_.collectives; }
  RolloutPool& pool() { return parts_.pool; }
  Policy& policy() { return parts_.policy; }
  AdamW& optimizer() { return parts_.optimizer; }
  Trainer& trainer() { return parts_.trainer; }
  const StopSignal& stop() const { return parts_.stop; }
  // Null when the stage reads files.
  const Task* task() const { return task_.get(); }
  // Null when the stage has a task.
  const Dataset* dataset() const { return dataset_.get(); }
  // Of sft from conversations or from an earlier stage's set, else null.
  const TrainingSet* training_set() const { return training_set_.get(); }
  // Training prompts.
  const PromptSource& prompts() const { return *prompts_; }
  // The task's, as a source; null when the stage reads files.
  const PromptSource* task_prompts() const { return task_source_.get(); }
  // Whether there are prompts to evaluate on.
  bool has_evaluation() const { return eval_prompts_ != nullptr; }
  // Where rejection_sampling stages leave their sets.
  std::string DatasetPath(const std::string& stage_name, absl::string_view suffix) const;

  // --- Progress ---
  int64_t step() const { return state_.step(); }      // steps done
  int64_t update() const { return state_.update(); }  // updates done
  uint64_t policy_version() const { return state_.policy_version(); }
  void SetProgress(int64_t step, int64_t update);
  // The stage's own message, kept in checkpoints.
  template <typename Message>
  Message LoadState() const {
    Message message;
    R1_CHECK(message.ParseFromString(state_.stage_state()));
    return message;
  }
  template <typename Message>
  void StoreState(const Message& message) {
    state_.set_stage_state(message.SerializeAsString());
  }
  // Memory of the stage that checkpoints keep under this name. At a resumed stage it is filled from
  // the checkpoint when it is there; true then. The memory must stay until the stage ends.
  bool KeepTensor(const std::string& name, std::span<float> values);
  // A second set of weights that checkpoints keep (the reference policy). Null = none.
  void KeepReference(std::shared_ptr<const WeightsSnapshot> reference) {
    reference_ = std::move(reference);
  }
  std::shared_ptr<const WeightsSnapshot> reference() const { return reference_; }

  // --- Services ---
  // True on every rank when the run was asked to stop.
  bool StopRequested();
  // The policy's weights become the next policy_version.
  void Publish();
  // An evaluation of the newest policy_version. Publish first when the weights have changed.
  EvalPlan Plan(const std::string& set, Split split, bool textbook) const {
    return PlanAt(set, split, textbook, update());
  }
  // Offers it to the workers and returns; CollectEvaluations waits for it and writes its row.
  [[nodiscard]] absl::Status BeginEvaluation(const EvalPlan& plan);
  [[nodiscard]] absl::Status CollectEvaluations();
  // Both, at once; every rank gets the result. Cancelled when stopped.
  [[nodiscard]] absl::StatusOr<EvalResult> Evaluate(const EvalPlan& plan);
  // At the start of a resumed stage: evaluations that were pending when the checkpoint was saved
  // are offered again.
  [[nodiscard]] absl::Status ResumeEvaluations();

  // Seconds from here to the end of the scope count as time/<name> of the step and show as the
  // phase.
  class Timed {
   public:
    Timed(StageContext& context, const std::string& name);
    ~Timed();

   private:
    StageContext& context_;
    const std::string name_;
    const double started_;
    PhaseScope phase_;
  };
  // A row of metrics.jsonl for the progress as it stands; adds time/… of the step since the row
  // before. Rank 0 writes.
  void WriteStepRow(std::map<std::string, double> values);
  void WriteSamples(std::vector<v1::SampleRecord> samples, const std::string& eval_set,
                    int64_t step);

  // Saves when checkpoint.every_steps says so.
  void CheckpointIfDue();
  // Saves now. `done`: the stage is over. An error is logged and returned; the run may go on.
  absl::Status SaveCheckpoint(bool done);

  // The tensors of the checkpoint that the stage resumes from.
  void SetResumed(const CheckpointContents& contents);

 private:
  friend class Timed;
  struct PendingEval {
    EvalPlan plan;
    int64_t step = 0;
    int64_t update = 0;
    uint64_t policy_version = 0;
    uint64_t first_group_id = 0;
    uint64_t groups = 0;
  };
  absl::Status LoadFiles(v1::DataConfig data, Dataset::Kind kind);
  absl::Status LoadTrainingSet(const std::vector<std::string>& paths);
  absl::Status LoadPromptsOfStage();
  EvalPlan PlanAt(const std::string& set, Split split, bool textbook, int64_t update) const;
  absl::Status OfferEvaluation(const PendingEval& pending);
  absl::StatusOr<EvalResult> CollectOne();
  CheckpointContents Contents(bool done);
  absl::StatusOr<std::string> WriteModelPart(bool done);
  absl::Status CommitCheckpoint(const std::string& temporary, int64_t failed_shards);

  const RunParts parts_;
  const v1::StageConfig& config_;
  const uint32_t index_;
  v1::CheckpointState& state_;
  std::shared_ptr<const Task> task_;
  std::unique_ptr<Dataset> dataset_;
  std::unique_ptr<Dataset> stage_prompts_;
  std::optional<ModelChatTemplate> chat_template_;
  std::unique_ptr<TrainingSet> training_set_;
  std::unique_ptr<PromptSource> task_source_;
  const PromptSource* prompts_ = nullptr;
  const PromptSource* eval_prompts_ = nullptr;
  std::vector<PendingEval> pending_;
  uint64_t evaluations_ = 0;  // calls of Evaluate in this process, the same on every rank
  std::vector<std::pair<std::string, std::span<float>>> kept_;
  CheckpointContents resumed_;
  std::shared_ptr<const WeightsSnapshot> published_;
  std::shared_ptr<const WeightsSnapshot> reference_;
  std::map<std::string, double> seconds_;
  double row_started_;
  double run_started_;
  double seconds_before_;
};

}  // namespace r1::learner
