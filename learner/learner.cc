#include "learner/learner.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/log.h"
#include "kernels/isa.h"
#include "learner/collectives.h"
#include "learner/policy/device.h"
#include "learner/report.h"
#include "learner/reward_sets.h"
#include "learner/rollout_pool_options.h"
#include "learner/run_directory.h"
#include "learner/run_recorder.h"
#include "learner/stage_model.h"
#include "learner/stages/stage.h"
#include "learner/status/status_board.h"
#include "learner/status/status_routes.h"
#include "learner/status/status_service.h"

namespace r1::learner {
namespace {

constexpr double kFarewellSeconds = 3;

class Learner {
 public:
  Learner(const LoadedConfig& loaded, const LearnerOptions& options, const StopSignal& stop,
          Collectives& collectives)
      : config_(loaded.config), options_(options), stop_(stop), collectives_(collectives) {}
  ~Learner() {
    // The status page asks the pool, and outlives it.
    if (board_) board_->SetLiveProvider(nullptr);
  }

  absl::StatusOr<RunOutcome> Run();

 private:
  bool is_main() const { return collectives_.rank() == 0; }
  bool computes_on_gpu() const { return device_ != "cpu"; }
  // A GPU is busy with one.
  int micro_batches_at_a_time() const {
    return computes_on_gpu() ? 1 : config_.learner().threads();
  }
  // Rank 0's error becomes everybody's, so that no rank waits for one that has given up.
  absl::Status Agree(absl::Status status);
  absl::Status OpenRun();
  absl::Status LoadModel();
  absl::Status SetModel(StageModel stage_model);
  absl::Status BeginModel(uint32_t index);
  absl::Status Recover();
  absl::Status ChooseNumerics();
  StatusBoardOptions MakeBoardOptions() const;
  absl::Status StartServices();
  absl::Status RunStages();
  // Behind the last stage that this process runs.
  uint32_t StagesEnd() const;
  absl::Status RunStage(uint32_t index, bool resumed);
  absl::Status EvaluateAtEnd(StageContext& context);
  v1::StageSpec MakeStageSpec(const v1::StageConfig& stage, uint32_t index,
                              const Stage& implementation) const;
  absl::Status FinishRun();

  const v1::Config& config_;
  const LearnerOptions& options_;
  const StopSignal& stop_;
  Collectives& collectives_;

  // Rank 0 only.
  std::unique_ptr<RunDirectory> directory_;
  std::unique_ptr<StatusBoard> board_;
  std::unique_ptr<LogEvents> log_events_;
  std::unique_ptr<StatusServiceImpl> status_service_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<RunRecorder> recorder_;

  v1::RunIdentity identity_;
  std::string device_;  // of the policy: "cpu" or "cuda:N"
  RunModel model_;
  std::unique_ptr<Policy> policy_;
  std::unique_ptr<AdamW> optimizer_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<RolloutPool> pool_;
  v1::CheckpointState state_;
  std::optional<LoadedCheckpoint> checkpoint_;
};

absl::Status Learner::Agree(absl::Status status) {
  std::string message =
      status.ok() ? "" : absl::StrCat(static_cast<int>(status.code()), "\n", status.message());
  collectives_.Broadcast(message);
  if (is_main() || message.empty()) return status;
  const size_t end = message.find('\n');
  return absl::Status(static_cast<absl::StatusCode>(std::stoi(message.substr(0, end))),
                      absl::StrCat("rank 0: ", message.substr(end + 1)));
}

absl::Status Learner::OpenRun() {
  if (!is_main()) {
    std::string identity;
    R1_RETURN_IF_ERROR(Agree(absl::OkStatus()));
    collectives_.Broadcast(identity);
    R1_CHECK(identity_.ParseFromString(identity));
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<RunDirectory>> directory =
      RunDirectory::Open(config_, options_.build_json);
  R1_RETURN_IF_ERROR(Agree(directory.status()));
  directory_ = *std::move(directory);
  identity_.set_run_id(directory_->run_id());
  identity_.set_incarnation(directory_->incarnation());
  std::string identity = identity_.SerializeAsString();
  collectives_.Broadcast(identity);
  R1_LOG(kInfo) << options_.build_line << " run " << directory_->path() << " id "
                << directory_->run_id() << " incarnation " << directory_->incarnation() << " ranks "
                << collectives_.size();
  return absl::OkStatus();
}

absl::Status Learner::LoadModel() {
  if (!checkpoint_) {
    R1_ASSIGN_OR_RETURN(StageModel first, LoadFirstModel(config_.model()));
    return SetModel(std::move(first));
  }
  const CheckpointContents& contents = checkpoint_->contents;
  StageModel resumed;
  R1_ASSIGN_OR_RETURN(resumed.model, ParseRunModel(contents.hf_config_json, contents.tokenizer_json,
                                                   contents.tokenizer_config_json));
  resumed.weights = contents.weights;
  return SetModel(std::move(resumed));
}

// Parts that belong to one model are made anew; the pool knows models by their stage only.
absl::Status Learner::SetModel(StageModel stage_model) {
  trainer_.reset();
  optimizer_.reset();
  policy_.reset();
  model_ = std::move(stage_model.model);
  R1_ASSIGN_OR_RETURN(
      policy_, Policy::Create(model_.spec,
                              {.activation_recompute = config_.learner().activation_recompute(),
                               .isa = state_.numerics().isa(),
                               .device = device_},
                              config_.run().seed()));
  optimizer_ = std::make_unique<AdamW>(model_.spec, policy_->parameter_offsets(),
                                       policy_->parameters().size());
  trainer_ = std::make_unique<Trainer>(
      *policy_, *optimizer_, collectives_,
      Trainer::Options{.threads = config_.learner().threads(),
                       .micro_batches = micro_batches_at_a_time(),
                       .tokens_max = config_.learner().tokens_per_rank_max()});
  return stage_model.weights ? policy_->Load(*stage_model.weights) : absl::OkStatus();
}

// What the stage's `init` names. The weights of the stage before are there already.
absl::Status Learner::BeginModel(uint32_t index) {
  const v1::StageConfig& stage = config_.stage(static_cast<int>(index));
  R1_ASSIGN_OR_RETURN(const StageInit init, ParseStageInit(stage.init()));
  // Rank 0 has given the last checkpoint its name: this stage may read what earlier ones left.
  collectives_.Barrier();
  if (init.kind == StageInit::Kind::kPrevious) return absl::OkStatus();
  const CheckpointStore store(RealFileSystem(),
                              {.folder = JoinPath(config_.run().dir(), "checkpoints")});
  absl::StatusOr<StageModel> model = LoadStageModel(config_, static_cast<int>(index), init, store);
  if (!model.ok()) return Annotate(model.status(), absl::StrCat("stage ", stage.name(), ": init"));
  R1_LOG(kInfo) << "stage " << stage.name() << " starts from " << model->origin;
  return SetModel(*std::move(model));
}

// Loads the newest intact checkpoint, on every rank the same.
absl::Status Learner::Recover() {
  CheckpointStore store(RealFileSystem(), {.folder = JoinPath(config_.run().dir(), "checkpoints"),
                                           .keep = config_.checkpoint().keep()});
  std::string name;
  absl::Status status;
  if (is_main()) {
    absl::StatusOr<LoadedCheckpoint> loaded = store.Recover();
    if (loaded.ok()) {
      R1_LOG(kInfo) << "resuming from checkpoint " << loaded->name;
      name = loaded->name;
      checkpoint_ = *std::move(loaded);
    } else if (!absl::IsNotFound(loaded.status())) {
      status = loaded.status();
    }
  }
  R1_RETURN_IF_ERROR(Agree(status));
  collectives_.Broadcast(name);
  if (!is_main() && !name.empty()) {
    R1_ASSIGN_OR_RETURN(checkpoint_, store.Load(name));
  }
  if (checkpoint_) state_ = checkpoint_->contents.state;
  return is_main() ? directory_->CutBack(checkpoint_ ? &state_ : nullptr) : absl::OkStatus();
}

// What decides the bits of the run is fixed at its start; a resumed run must be able to compute the
// same way.
absl::Status Learner::ChooseNumerics() {
  absl::StatusOr<std::string> device = ResolveDevice(config_.learner().device());
  if (!device.ok()) return Annotate(device.status(), "learner.device");
  device_ = *std::move(device);
  const std::vector<kernels::IsaName> runnable = kernels::DetectIsas();
  v1::Numerics numerics;
  numerics.set_isa(std::string(kernels::IsaText(runnable.front())));
  numerics.set_dtype(computes_on_gpu() ? "bf16" : "fp32");
  numerics.set_kernel_version(kernels::kKernelVersion);
  numerics.set_torch(options_.torch);
  numerics.set_learner_ranks(static_cast<uint32_t>(collectives_.size()));
  numerics.set_learner_threads(static_cast<uint32_t>(micro_batches_at_a_time()));
  if (computes_on_gpu()) numerics.set_learner_device("cuda");
  if (config_.worker().device() != "cpu") {
    numerics.set_worker_device(config_.worker().device() == "auto" ? "auto" : "cuda");
  }
  if (config_.worker().expert_weights() != "bf16")
    numerics.set_worker_expert_weights(config_.worker().expert_weights());
  if (checkpoint_) {
    const v1::Numerics& saved = state_.numerics();
    const bool can_run = std::any_of(runnable.begin(), runnable.end(), [&](kernels::IsaName isa) {
      return saved.isa() == kernels::IsaText(isa);
    });
    if (can_run) numerics.set_isa(saved.isa());
    if (saved.SerializeAsString() != numerics.SerializeAsString()) {
      return absl::FailedPreconditionError(
          absl::StrCat("this run was started with numerics {", saved.ShortDebugString(),
                       "}, this machine and build have {", numerics.ShortDebugString(),
                       "}: it would not end in the same weights; use a fresh run.dir"));
    }
  }
  std::string agreed = numerics.SerializeAsString();
  collectives_.Broadcast(agreed);
  R1_CHECK(numerics.ParseFromString(agreed));
  R1_RETURN_IF_ERROR(kernels::ParseIsa(numerics.isa()).status());
  *state_.mutable_numerics() = numerics;
  return absl::OkStatus();
}

StatusBoardOptions Learner::MakeBoardOptions() const {
  StatusBoardOptions options;
  options.run_id = identity_.run_id();
  options.incarnation = identity_.incarnation();
  options.run_dir = config_.run().dir();
  options.build = options_.build_line;
  options.version = options_.version;
  options.commit = options_.commit;
  options.torch = options_.torch;
  options.config_toml = ConfigToToml(config_);
  options.stages = static_cast<uint32_t>(config_.stage_size());
  options.seconds_before = state_.seconds_total();
  return options;
}

absl::Status Learner::StartServices() {
  RolloutPoolOptions pool;
  pool.run = identity_;
  pool.numerics = state_.numerics();
  pool.rank = static_cast<uint32_t>(collectives_.rank());
  pool.ranks = static_cast<uint32_t>(collectives_.size());
  if (is_main()) pool.address = config_.learner().address();
  pool.lease_timeout_seconds = config_.rollout().lease_timeout_seconds();
  pool.worker_timeout_seconds = config_.rollout().worker_timeout_seconds();
  if (is_main()) {
    board_ = std::make_unique<StatusBoard>(MakeBoardOptions());
    log_events_ = std::make_unique<LogEvents>(board_.get());
    status_service_ = std::make_unique<StatusServiceImpl>(*board_);
    pool.extra_service = status_service_.get();
    R1_ASSIGN_OR_RETURN(recorder_, RunRecorder::Open(config_, *directory_, *board_));
    R1_ASSIGN_OR_RETURN(pool_, StartRolloutPool(pool));
    board_->SetLiveProvider([this] {
      const Awaited awaited = pool_->awaited();
      return LiveStatus{.workers = pool_->workers(),
                        .queues = pool_->queues(),
                        .awaited = awaited.what,
                        .awaited_from = awaited.from,
                        .counters = pool_->counters()};
    });
    R1_ASSIGN_OR_RETURN(http_, StartStatusServer(config_.status().address(), *board_));
  }
  std::string owner_address = pool_ ? pool_->address() : "";
  collectives_.Broadcast(owner_address);
  if (!is_main()) {
    pool.owner_address = owner_address;
    R1_ASSIGN_OR_RETURN(pool_, StartRolloutPool(pool));
  }
  if (checkpoint_) {
    const size_t rank = static_cast<size_t>(collectives_.rank());
    std::vector<v1::Group> accepted;
    if (rank < checkpoint_->groups.size()) accepted = std::move(checkpoint_->groups[rank]);
    R1_RETURN_IF_ERROR(pool_->Restore(state_, std::move(accepted)));
    if (is_main()) {
      for (const auto& leased : checkpoint_->contents.leased) pool_->Publish(leased);
      pool_->Publish(checkpoint_->contents.weights);
    }
  }
  return is_main() ? directory_->WriteEndpoint(pool_->address(), http_->address())
                   : absl::OkStatus();
}

v1::StageSpec Learner::MakeStageSpec(const v1::StageConfig& stage, uint32_t index,
                                     const Stage& implementation) const {
  v1::StageSpec spec;
  spec.set_stage_index(index);
  spec.set_stage_name(stage.name());
  spec.set_hf_config_json(model_.spec.hf_config_json);
  spec.set_tokenizer_json(model_.tokenizer->json());
  spec.set_tokenizer_config_json(model_.tokenizer->config_json());
  *spec.mutable_numerics() = state_.numerics();
  v1::EngineSpec& engine = *spec.mutable_engine();
  engine.set_threads(static_cast<uint32_t>(config_.rollout().threads()));
  engine.set_reward_threads(static_cast<uint32_t>(config_.rollout().reward_threads()));
  engine.set_running_samples_max(static_cast<uint32_t>(config_.rollout().running_samples_max()));
  engine.set_device(config_.worker().device());
  engine.set_expert_weights(config_.worker().expert_weights());
  engine.set_kv_cache_mib(static_cast<uint32_t>(config_.rollout().kv_cache_mib()));
  engine.set_sequence_tokens_max(static_cast<uint32_t>(
      std::min<int64_t>(stage.data().prompt_tokens_max() + implementation.response_tokens_max(),
                        model_.spec.positions_max)));
  *spec.mutable_reward_sets() = MakeRewardSets(stage);
  spec.set_run_seed(config_.run().seed());
  const v1::SandboxConfig& sandbox = config_.sandbox();
  *spec.mutable_sandbox()->mutable_missing_layers_allowed() = sandbox.missing_layers_allowed();
  spec.mutable_sandbox()->set_disable_when_unavailable(sandbox.on_unavailable() == "disable");
  return spec;
}

absl::Status Learner::EvaluateAtEnd(StageContext& context) {
  if (!context.has_evaluation()) {
    R1_LOG(kInfo) << "stage " << context.config().name()
                  << ": no evaluation, since its data have no prompts for it (data.eval_files)";
    return absl::OkStatus();
  }
  context.Publish();
  R1_RETURN_IF_ERROR(context.Evaluate(context.Plan(kHeldOutSet, Split::kEval, false)).status());
  // What the base can do in the form that its documents had: the line that GRPO is measured
  // against.
  if (context.config().has_pretrain()) {
    R1_RETURN_IF_ERROR(context.Evaluate(context.Plan(kTextbookSet, Split::kEval, true)).status());
  }
  return absl::OkStatus();
}

absl::Status Learner::RunStage(uint32_t index, bool resumed) {
  const v1::StageConfig& config = config_.stage(static_cast<int>(index));
  const auto* factory = StageRegistry::FindOrNull(config.kind());
  R1_CHECK(factory != nullptr);
  const std::unique_ptr<Stage> stage = (*factory)(config);
  if (!resumed) {
    state_.set_stage_index(index);
    state_.set_stage_name(config.name());
    state_.set_step(0);
    state_.set_update(0);
    state_.clear_stage_state();
    state_.clear_planned();
    state_.clear_pending_evals();
    state_.set_eval_groups(0);
    R1_RETURN_IF_ERROR(BeginModel(index));
    optimizer_->Reset();
  }
  StageContext context({.config = config_,
                        .tokenizer = *model_.tokenizer,
                        .collectives = collectives_,
                        .pool = *pool_,
                        .policy = *policy_,
                        .optimizer = *optimizer_,
                        .trainer = *trainer_,
                        .device = device_,
                        .stop = stop_,
                        .recorder = recorder_.get(),
                        .board = board_.get()},
                       config, index, state_);
  R1_RETURN_IF_ERROR(context.LoadData());
  context.SetResumed(resumed ? checkpoint_->contents : CheckpointContents());
  if (resumed) optimizer_->set_updates(state_.optimizer_updates());
  if (is_main()) {
    board_->BeginStage(config.name(), index, state_.step(), stage->steps());
    board_->SetProgress(state_.step(), state_.update());
  }
  R1_RETURN_IF_ERROR(pool_->BeginStage(MakeStageSpec(config, index, *stage)));
  R1_LOG(kInfo) << "stage " << config.name() << " (" << config.kind() << ") from step "
                << state_.step();
  absl::Status status = stage->Run(context);
  if (status.ok() && stage->trains()) status = EvaluateAtEnd(context);
  if (absl::IsCancelled(status)) {
    R1_RETURN_IF_ERROR(context.SaveCheckpoint(false));
    return status;
  }
  R1_RETURN_IF_ERROR(status);
  return context.SaveCheckpoint(true);
}

absl::Status Learner::RunStages() {
  uint32_t index = state_.stage_index();
  bool resumed = checkpoint_.has_value();
  if (resumed && state_.stage_done()) {
    ++index;
    resumed = false;
  }
  for (; index < StagesEnd(); ++index) {
    R1_RETURN_IF_ERROR(RunStage(index, resumed));
    resumed = false;
  }
  return absl::OkStatus();
}

uint32_t Learner::StagesEnd() const {
  const int last = FindStage(config_, options_.last_stage);
  return static_cast<uint32_t>(last < 0 ? config_.stage_size() : last + 1);
}

absl::Status Learner::FinishRun() {
  if (!is_main()) return absl::OkStatus();
  R1_ASSIGN_OR_RETURN(const std::vector<MetricsRow> rows, recorder_->ReadRows());
  return directory_->Finish(
      MakeReportJson(config_, identity_.run_id(), state_.seconds_total(), rows));
}

absl::StatusOr<RunOutcome> Learner::Run() {
  R1_RETURN_IF_ERROR(OpenRun());
  if (is_main() && directory_->finished()) return RunOutcome::kFinished;
  state_.set_run_id(identity_.run_id());
  R1_RETURN_IF_ERROR(Recover());
  R1_RETURN_IF_ERROR(ChooseNumerics());
  R1_RETURN_IF_ERROR(LoadModel());
  R1_RETURN_IF_ERROR(StartServices());
  state_.set_run_id(identity_.run_id());
  state_.set_build(options_.build_line);
  state_.set_config_sha256(ConfigDigest(config_));
  if (board_) board_->SetState(RunState::kRunning);

  absl::Status status = RunStages();
  const bool all_stages = StagesEnd() == static_cast<uint32_t>(config_.stage_size());
  if (status.ok() && all_stages) status = FinishRun();
  const bool preempted = absl::IsCancelled(status);
  if (board_) {
    board_->SetState(preempted     ? RunState::kPreempted
                     : status.ok() ? RunState::kFinished
                                   : RunState::kFailed,
                     status.ok() ? "" : std::string(status.message()));
  }
  if (status.ok()) pool_->Finish(kFarewellSeconds);
  if (directory_) directory_->RemoveEndpoint();
  if (preempted) return RunOutcome::kPreempted;
  R1_RETURN_IF_ERROR(status);
  return all_stages ? RunOutcome::kFinished : RunOutcome::kStageDone;
}

}  // namespace

absl::StatusOr<RunOutcome> RunLearner(const LoadedConfig& loaded, const LearnerOptions& options,
                                      const StopSignal& stop) {
  R1_ASSIGN_OR_RETURN(const std::unique_ptr<Collectives> collectives, Collectives::Create());
  SetLogRole(absl::StrCat("learner/", collectives->rank()));
  if (collectives->rank() > 0 && !options.log_folder.empty()) {
    R1_RETURN_IF_ERROR(SetLogFile(
        JoinPath(options.log_folder, absl::StrCat("learner_", collectives->rank(), ".log")), true));
  }
  if (collectives->size() != loaded.config.learner().ranks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("learner.ranks is ", loaded.config.learner().ranks(), ", but this job has ",
                     collectives->size(), " (mpirun -n N)"));
  }
  absl::StatusOr<RunOutcome> outcome = Learner(loaded, options, stop, *collectives).Run();
  if (!outcome.ok() && collectives->size() > 1) {
    // The other ranks may be in a collective that will never complete.
    R1_LOG(kError) << outcome.status().message();
    collectives->Abort(3);
  }
  return outcome;
}

}  // namespace r1::learner
