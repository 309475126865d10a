#include "learner/stages/stage_context.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "common/log.h"
#include "common/schedule.h"
#include "learner/stages/stage.h"

namespace r1::learner {
namespace {

TensorView ViewOf(const std::string& name, std::span<const float> values) {
  return {.name = name,
          .dtype = DType::kF32,
          .shape = {static_cast<int64_t>(values.size())},
          .bytes =
              absl::string_view(reinterpret_cast<const char*>(values.data()), values.size_bytes())};
}

constexpr uint64_t kTemplateBytesMax = 16 << 20;
constexpr char kFirstMoment[] = "adam/first_moment";
constexpr char kSecondMoment[] = "adam/second_moment";

std::string BulletinTag(uint32_t stage_index, uint64_t evaluation) {
  return absl::StrCat("eval/", stage_index, "/", evaluation);
}

uint64_t FolderBytes(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path, error)) {
    if (entry.is_regular_file(error)) bytes += entry.file_size(error);
  }
  return bytes;
}

}  // namespace

StageContext::StageContext(const RunParts& parts, const v1::StageConfig& config, uint32_t index,
                           v1::CheckpointState& state)
    : parts_(parts),
      config_(config),
      index_(index),
      state_(state),
      row_started_(RealClock().MonotonicSeconds()),
      run_started_(row_started_),
      seconds_before_(state.seconds_total()) {}

std::string StageContext::DatasetPath(const std::string& stage_name,
                                      absl::string_view suffix) const {
  return JoinPath(JoinPath(run().run().dir(), "datasets"), absl::StrCat(stage_name, suffix));
}

absl::Status StageContext::LoadData() {
  const v1::DataConfig& data = config_.data();
  bool has_conversations = false;
  if (config_.has_sft() && config_.sft().from_stage().empty() && !data.train_files().empty()) {
    R1_ASSIGN_OR_RETURN(has_conversations, HasMessages(data.train_files(0)));
  }
  if (!config_.sft().from_stage().empty()) {
    R1_RETURN_IF_ERROR(LoadTrainingSet({DatasetPath(config_.sft().from_stage(), kDatasetSuffix)}));
  } else if (has_conversations) {
    R1_RETURN_IF_ERROR(LoadTrainingSet({data.train_files().begin(), data.train_files().end()}));
  }
  if (has_conversations) {
    v1::DataConfig evaluation = data;
    evaluation.clear_train_files();
    if (data.eval_files().empty()) return absl::OkStatus();
    return LoadFiles(std::move(evaluation), Dataset::Kind::kAnswers);
  }
  if (!data.train_files().empty()) {
    const bool completions = config_.has_sft() && training_set_ == nullptr;
    R1_RETURN_IF_ERROR(
        LoadFiles(data, completions ? Dataset::Kind::kCompletions : Dataset::Kind::kAnswers));
  } else {
    const std::string name = config_.has_pretrain()  ? config_.pretrain().task()
                             : config_.has_sft()     ? config_.sft().task()
                             : config_.has_distill() ? config_.distill().task()
                             : config_.has_rejection_sampling()
                                 ? config_.rejection_sampling().task()
                                 : config_.grpo().task();
    R1_ASSIGN_OR_RETURN(std::unique_ptr<Task> task, MakeTask(name));
    task_ = std::move(task);
    task_source_ = MakeTaskSource(task_);
    prompts_ = eval_prompts_ = task_source_.get();
  }
  return data.prompts_from_stage().empty() ? absl::OkStatus() : LoadPromptsOfStage();
}

absl::Status StageContext::LoadFiles(v1::DataConfig data, Dataset::Kind kind) {
  R1_ASSIGN_OR_RETURN(dataset_, Dataset::Load(data, kind, tokenizer()));
  const Dataset::LeftOut& left_out = dataset_->left_out();
  if (is_main()) {
    R1_LOG(kInfo) << "stage " << config_.name() << ": " << dataset_->size(Split::kTrain)
                  << " training and " << dataset_->size(Split::kEval)
                  << " evaluation prompts; left out: " << left_out.too_long << " too long, "
                  << left_out.repeated << " repeated, " << left_out.evaluated << " held out, "
                  << left_out.pass_rate << " by pass rate";
  }
  prompts_ = eval_prompts_ = dataset_.get();
  return absl::OkStatus();
}

absl::Status StageContext::LoadTrainingSet(const std::vector<std::string>& paths) {
  const v1::SftConfig& sft = config_.sft();
  const std::string config_json = tokenizer().config_json();
  std::string source;
  if (!sft.chat_template().empty()) {
    R1_ASSIGN_OR_RETURN(source, RealFileSystem().Read(sft.chat_template(), kTemplateBytesMax));
  }
  absl::StatusOr<ModelChatTemplate> chat_template =
      ModelChatTemplate::Parse(config_json.empty() ? "{}" : config_json, source,
                               source.empty() ? "tokenizer_config.json" : sft.chat_template());
  if (chat_template.ok()) {
    chat_template_ = *std::move(chat_template);
  } else if (!absl::IsNotFound(chat_template.status())) {
    return chat_template.status();
  }
  const int64_t tokens_max =
      std::min<int64_t>(sft.sequence_tokens_max(), parts_.policy.spec().positions_max);
  R1_ASSIGN_OR_RETURN(
      training_set_,
      TrainingSet::Load(paths, tokens_max,
                        {.tokenizer = tokenizer(),
                         .prompt_template = config_.data().prompt_template(),
                         .chat_template = chat_template_ ? &*chat_template_ : nullptr}));
  if (is_main()) {
    R1_LOG(kInfo) << "stage " << config_.name() << ": " << training_set_->size() << " sequences of "
                  << training_set_->tokens()
                  << " tokens; left out: " << training_set_->left_out().too_long << " too long, "
                  << training_set_->left_out().repeated << " repeated";
  }
  return absl::OkStatus();
}

// The file holds the prompts without a template, and final answers.
absl::Status StageContext::LoadPromptsOfStage() {
  v1::DataConfig data = config_.data();
  data.clear_train_files();
  data.add_train_files(DatasetPath(data.prompts_from_stage(), kPromptsSuffix));
  data.clear_answer_marker();
  R1_ASSIGN_OR_RETURN(stage_prompts_, Dataset::Load(data, Dataset::Kind::kAnswers, tokenizer()));
  if (is_main()) {
    R1_LOG(kInfo) << "stage " << config_.name() << ": " << stage_prompts_->size(Split::kTrain)
                  << " training prompts of stage " << data.prompts_from_stage()
                  << "; left out by pass rate: " << stage_prompts_->left_out().pass_rate;
  }
  prompts_ = stage_prompts_.get();
  return absl::OkStatus();
}

void StageContext::SetProgress(int64_t step, int64_t update) {
  state_.set_step(step);
  state_.set_update(update);
  if (parts_.board != nullptr) parts_.board->SetProgress(step, update);
}

void StageContext::SetResumed(const CheckpointContents& contents) {
  resumed_ = contents;
  reference_ = contents.reference;
  published_ = contents.weights;
  KeepTensor(kFirstMoment, optimizer().first_moment());
  KeepTensor(kSecondMoment, optimizer().second_moment());
}

bool StageContext::KeepTensor(const std::string& name, std::span<float> values) {
  if (std::none_of(kept_.begin(), kept_.end(),
                   [&](const auto& kept) { return kept.first == name; })) {
    kept_.emplace_back(name, values);
  }
  for (const TensorView& tensor : resumed_.optimizer) {
    if (tensor.name != name || tensor.bytes.size() != values.size_bytes()) continue;
    std::memcpy(values.data(), tensor.bytes.data(), values.size_bytes());
    return true;
  }
  return false;
}

bool StageContext::StopRequested() {
  if (ranks() == 1) return stop().raised();
  std::string decision = is_main() && stop().raised() ? "stop" : "go";
  collectives().Broadcast(decision);
  return decision == "stop";
}

void StageContext::Publish() {
  const Timed timed(*this, "publish");
  state_.set_policy_version(state_.policy_version() + 1);
  if (!is_main()) return;
  published_ = std::make_shared<WeightsSnapshot>(policy().Snapshot(state_.policy_version()));
  pool().Publish(published_);
  parts_.board->SetPolicyVersion(state_.policy_version());
}

EvalPlan StageContext::PlanAt(const std::string& set, Split split, bool textbook,
                              int64_t update) const {
  return {.set = set,
          .split = split,
          .textbook = textbook,
          .prompts = config_.eval().prompts(),
          .samples_per_prompt = config_.eval().samples_per_prompt(),
          .temperature = config_.eval().temperature(),
          .response_tokens_max =
              static_cast<uint32_t>(ScheduleAt(config_.sampling().response_tokens_max(), update))};
}

absl::Status StageContext::OfferEvaluation(const PendingEval& pending) {
  R1_ASSIGN_OR_RETURN(
      std::vector<v1::Lease> leases,
      MakeEvalLeases(pending.plan, {eval_prompts_, task_.get(), &parts_.tokenizer, stop_ids()},
                     index_, pending.first_group_id, pending.policy_version));
  R1_CHECK(leases.size() == pending.groups || pending.groups == 0);
  return pool().Offer(0, std::move(leases));
}

absl::Status StageContext::BeginEvaluation(const EvalPlan& plan) {
  if (!is_main()) return absl::OkStatus();
  PendingEval pending{.plan = plan,
                      .step = step(),
                      .update = update(),
                      .policy_version = policy_version(),
                      .first_group_id = state_.eval_groups()};
  const uint64_t available = !has_evaluation()                   ? 0
                             : plan.textbook && task_ != nullptr ? task_->size(plan.split)
                                                                 : eval_prompts_->size(plan.split);
  pending.groups =
      std::min<uint64_t>(available, static_cast<uint64_t>(plan.prompts)) * (plan.greedy ? 2 : 1);
  if (pending.groups == 0) {
    return absl::InvalidArgumentError(absl::StrCat("stage ", config_.name(),
                                                   ": no prompts for evaluation set ", plan.set,
                                                   "; name data.eval_files or give more rows"));
  }
  R1_RETURN_IF_ERROR(OfferEvaluation(pending));
  state_.set_eval_groups(pending.first_group_id + pending.groups);
  pending_.push_back(std::move(pending));
  return absl::OkStatus();
}

absl::StatusOr<EvalResult> StageContext::CollectOne() {
  const Timed timed(*this, "evaluate");
  const PendingEval& pending = pending_.front();
  absl::StatusOr<std::vector<v1::Group>> groups =
      pool().AwaitEval(pending.first_group_id, pending.groups, stop());
  if (!groups.ok()) return groups.status();
  EvalResult result = SummarizeEval(pending.plan, *groups);
  parts_.recorder->WriteRow({.stage = config_.name(),
                             .stage_index = index_,
                             .step = pending.step,
                             .update = pending.update,
                             .values = result.values});
  std::vector<v1::SampleRecord> records;
  for (size_t i = 0; i < groups->size(); ++i) {
    const v1::Group& group = (*groups)[i];
    const uint64_t prompt_index = i / (pending.plan.greedy ? 2 : 1);
    const PromptRow row = pending.plan.textbook
                              ? task_->TextbookPrompt(pending.plan.split, prompt_index)
                              : eval_prompts_->Prompt(pending.plan.split, 0, 0, prompt_index);
    for (const v1::Sample& sample : group.samples()) {
      records.push_back(MakeSampleRecord(config_.name(), pending.step, "eval", row, group, sample));
    }
  }
  WriteSamples(std::move(records), pending.plan.set, pending.step);
  pending_.erase(pending_.begin());
  return result;
}

absl::Status StageContext::CollectEvaluations() {
  while (!pending_.empty()) R1_RETURN_IF_ERROR(CollectOne().status());
  return absl::OkStatus();
}

absl::StatusOr<EvalResult> StageContext::Evaluate(const EvalPlan& plan) {
  const std::string tag = BulletinTag(index_, evaluations_++);
  if (!is_main()) {
    R1_ASSIGN_OR_RETURN(const std::string payload, pool().AwaitPost(tag, stop()));
    EvalResult result;
    if (payload.size() != sizeof(result.pass_at_1))
      return absl::CancelledError("rank 0 stopped the evaluation");
    std::memcpy(&result.pass_at_1, payload.data(), sizeof(result.pass_at_1));
    return result;
  }
  R1_CHECK(pending_.empty());
  const uint64_t groups_before = state_.eval_groups();
  R1_RETURN_IF_ERROR(BeginEvaluation(plan));
  absl::StatusOr<EvalResult> result = CollectOne();
  if (!result.ok()) {
    // Forgotten: a resumed run asks again, under the same group ids.
    pending_.clear();
    state_.set_eval_groups(groups_before);
  }
  if (ranks() > 1) {
    std::string payload;
    if (result.ok())
      payload.assign(reinterpret_cast<const char*>(&result->pass_at_1), sizeof(result->pass_at_1));
    pool().Post(tag, payload);
  }
  return result;
}

absl::Status StageContext::ResumeEvaluations() {
  if (!is_main()) return absl::OkStatus();
  for (const v1::PendingEval& saved : state_.pending_evals()) {
    PendingEval pending{.plan = PlanAt(saved.set(), Split::kEval, false, saved.update()),
                        .step = saved.step(),
                        .update = saved.update(),
                        .policy_version = saved.policy_version(),
                        .first_group_id = saved.first_group_id(),
                        .groups = saved.groups()};
    R1_RETURN_IF_ERROR(OfferEvaluation(pending));
    pending_.push_back(std::move(pending));
  }
  state_.clear_pending_evals();
  return absl::OkStatus();
}

StageContext::Timed::Timed(StageContext& context, const std::string& name)
    : context_(context),
      name_(name),
      started_(RealClock().MonotonicSeconds()),
      phase_(context.parts_.board, name) {}

StageContext::Timed::~Timed() {
  context_.seconds_[name_] += RealClock().MonotonicSeconds() - started_;
}

void StageContext::WriteStepRow(std::map<std::string, double> values) {
  const double now = RealClock().MonotonicSeconds();
  double accounted = 0;
  for (const auto& [name, seconds] : seconds_) {
    values["time/" + name] = seconds;
    accounted += seconds;
  }
  values["time/step"] = now - row_started_;
  values["time/unaccounted"] = std::max(0.0, now - row_started_ - accounted);
  seconds_.clear();
  row_started_ = now;
  if (!is_main()) return;
  const auto skipped = values.find("optim/skipped_steps");
  if (skipped != values.end() && skipped->second > 0) parts_.board->CountNonfinite("gradient");
  parts_.recorder->WriteRow({.stage = config_.name(),
                             .stage_index = index_,
                             .step = step(),
                             .update = update(),
                             .values = std::move(values)});
}

void StageContext::WriteSamples(std::vector<v1::SampleRecord> samples, const std::string& eval_set,
                                int64_t step) {
  if (!is_main() || samples.empty()) return;
  parts_.recorder->WriteSamples({.stage = config_.name(),
                                 .stage_index = index_,
                                 .step = step,
                                 .eval_set = eval_set,
                                 .samples = std::move(samples)});
}

void StageContext::CheckpointIfDue() {
  const int64_t every = run().checkpoint().every_steps();
  if (every > 0 && step() % every == 0) (void)SaveCheckpoint(false);
}

CheckpointContents StageContext::Contents(bool done) {
  state_.set_stage_index(index_);
  state_.set_stage_name(config_.name());
  state_.set_stage_done(done);
  state_.set_optimizer_updates(optimizer().updates());
  state_.set_seconds_total(seconds_before_ + RealClock().MonotonicSeconds() - run_started_);
  state_.clear_pending_evals();
  for (const PendingEval& pending : pending_) {
    v1::PendingEval* saved = state_.add_pending_evals();
    saved->set_set(pending.plan.set);
    saved->set_step(pending.step);
    saved->set_update(pending.update);
    saved->set_policy_version(pending.policy_version);
    saved->set_first_group_id(pending.first_group_id);
    saved->set_groups(pending.groups);
  }
  CheckpointContents contents;
  contents.hf_config_json = policy().spec().hf_config_json;
  contents.tokenizer_json = tokenizer().json();
  contents.tokenizer_config_json = tokenizer().config_json();
  contents.weights = std::make_shared<WeightsSnapshot>(policy().Snapshot(policy_version()));
  if (!done) {  // nothing of it is used after the stage's end
    for (const auto& [name, values] : kept_) contents.optimizer.push_back(ViewOf(name, values));
    contents.reference = reference_;
  }
  for (auto& leased : pool().LeasedVersions()) {
    if (leased->policy_version != policy_version()) contents.leased.push_back(std::move(leased));
  }
  return contents;
}

// Rank 0's part; the name of the unfinished checkpoint, empty when it could not be written.
absl::StatusOr<std::string> StageContext::WriteModelPart(bool done) {
  CheckpointContents contents = Contents(done);
  R1_RETURN_IF_ERROR(parts_.recorder->Sync(state_));
  contents.state = state_;
  CheckpointStore& store = parts_.recorder->checkpoints();
  R1_ASSIGN_OR_RETURN(std::string temporary, store.BeginSave(state_));
  const absl::Status written = store.WriteModel(temporary, contents);
  if (written.ok()) return temporary;
  store.Abandon(temporary);
  return written;
}

// Rank 0, after all ranks have written their shards.
absl::Status StageContext::CommitCheckpoint(const std::string& temporary, int64_t failed_shards) {
  CheckpointStore& store = parts_.recorder->checkpoints();
  if (failed_shards > 0) {
    store.Abandon(temporary);
    return absl::UnavailableError(absl::StrCat(failed_shards, " of ", ranks(),
                                               " ranks could not write their part (their logs say "
                                               "why)"));
  }
  R1_ASSIGN_OR_RETURN(const std::string path, store.Commit(temporary, ranks()));
  parts_.board->RecordCheckpoint(std::filesystem::path(path).filename().string(),
                                 FolderBytes(path));
  return absl::OkStatus();
}

absl::Status StageContext::SaveCheckpoint(bool done) {
  const Timed timed(*this, "checkpoint");
  std::vector<v1::Group> accepted;
  pool().Save(state_, accepted);
  absl::Status status;
  std::string temporary;
  if (is_main()) {
    absl::StatusOr<std::string> begun = WriteModelPart(done);
    status = begun.status();
    if (begun.ok()) temporary = *std::move(begun);
  }
  collectives().Broadcast(temporary);
  if (!temporary.empty()) {
    CheckpointStore shards(RealFileSystem(), {.folder = ParentPath(temporary)});
    status = shards.WriteShard(temporary, rank(), accepted);
    int64_t failed[1] = {status.ok() ? 0 : 1};
    collectives().AllReduceSum(std::span<int64_t>(failed));
    if (is_main()) {
      const absl::Status committed = CommitCheckpoint(temporary, failed[0]);
      if (status.ok()) status = committed;
    }
  }
  if (!status.ok()) {
    R1_LOG(kError) << "checkpoint not saved, earlier ones are intact: " << status.message();
  }
  return status;
}

}  // namespace r1::learner
