#include "learner/run_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/models/model_costs.h"
#include "common/nearest_name.h"
#include "common/schedule.h"
#include "common/utf8.h"
#include "learner/policy/activation_bytes.h"

namespace r1::learner {
namespace {

constexpr double kMasterBytes = 4;  // fp32: master weights, gradients, and each of Adam's moments
// An update reads weight, gradient and both moments, and writes weight and moments.
constexpr double kUpdateBytes = 7 * kMasterBytes;
constexpr double kMebibyte = 1 << 20;
constexpr double kFp8ExpertBytes = 4224.0 / 4096;  // with scales: kernels/cuda/fp8_layout.h

// Data sheets: memory and its speed, dense bf16. Of these, 93 % and 69 % were reached on an H200
// (docs/performance.md); the others are taken to reach the same shares.
constexpr double kReachedBytes = 0.93, kReachedFlops = 0.69;
Accelerator Gpu(const char* name, double gigabytes, double terabytes_per_second, double teraflops) {
  return {.name = name,
          .memory_bytes = gigabytes * 1e9,
          .bytes_per_second = kReachedBytes * terabytes_per_second * 1e12,
          .flops = kReachedFlops * teraflops * 1e12};
}

double Sum(const std::vector<MemoryLine>& lines, double MemoryLine::*bytes) {
  double sum = 0;
  for (const MemoryLine& line : lines) sum += line.*bytes;
  return sum;
}

bool KeepsReference(const v1::GrpoConfig& grpo) {
  return std::any_of(grpo.kl_coef().points().begin(), grpo.kl_coef().points().end(),
                     [](const v1::SchedulePoint& point) { return point.value() != 0; });
}

std::string Gigabytes(double bytes) { return absl::StrFormat("%.1f GB", bytes * 1e-9); }

class Planner {
 public:
  Planner(const v1::Config& config, const ModelSpec& spec, const Accelerator& accelerator,
          const PlanLoad& load)
      : config_(config),
        load_(load),
        spec_(spec),
        on_(accelerator),
        ranks_(config.learner().ranks()),
        workers_(std::max(1, config.rollout().workers())),
        parameters_(static_cast<double>(spec.parameters())) {
    if (load.devices > 0) {
      const double share = static_cast<double>(ranks_) / (ranks_ + workers_);
      ranks_ = std::clamp(static_cast<int>(std::lround(load.devices * share)), 1,
                          std::max(1, load.devices - 1));
      workers_ = std::max(1, load.devices - ranks_);
    }
    for (const v1::StageConfig& stage : config.stage()) {
      longest_ = std::max(longest_, Longest(stage));
      generates_ =
          generates_ || stage.has_grpo() || stage.has_rejection_sampling() || stage.has_distill();
      keeps_reference_ = keeps_reference_ || (stage.has_grpo() && KeepsReference(stage.grpo()));
    }
  }

  RunPlan Plan() {
    RunPlan plan{.parameters = spec_.parameters(),
                 .active_parameters = spec_.active_parameters(),
                 .accelerator = on_};
    plan.learner = PlanLearner();
    plan.rollout = PlanRollout();
    const double sample_bytes =
        static_cast<double>(CacheValues(spec_)) * on_.value_bytes * longest_;
    running_samples_ = std::min<double>(config_.rollout().running_samples_max(),
                                        std::floor(CacheBytes() / std::max(1.0, sample_bytes)));
    plan.running_samples = running_samples_;
    for (const v1::StageConfig& stage : config_.stage()) plan.stages.push_back(PlanStage(stage));
    AddProblems(plan);
    return plan;
  }

 private:
  static double Longest(const v1::StageConfig& stage) {
    return static_cast<double>(stage.data().prompt_tokens_max()) +
           ScheduleMax(stage.sampling().response_tokens_max());
  }
  double PromptTokens(const v1::StageConfig& stage) const {
    return load_.prompt_tokens > 0 ? load_.prompt_tokens : stage.data().prompt_tokens_max();
  }
  double ResponseTokens(const v1::StageConfig& stage) const {
    return load_.response_tokens > 0 ? load_.response_tokens
                                     : ScheduleMax(stage.sampling().response_tokens_max());
  }
  double CacheBytes() const { return config_.rollout().kv_cache_mib() * kMebibyte; }

  MemoryPlan PlanLearner() const {
    const v1::LearnerConfig& learner = config_.learner();
    // On CPU every thread has a micro-batch and gradients of its own.
    const double passes = on_.value_bytes == 4 ? learner.threads() : 1;
    const auto tokens = static_cast<int64_t>(
        std::max<double>(learner.tokens_per_rank_max(), std::max(1.0, longest_)));
    const PassBytes pass =
        TrainingPassBytes(spec_,
                          {.tokens = tokens,
                           .targets = tokens,
                           .activation_recompute = learner.activation_recompute()},
                          on_.value_bytes);
    MemoryPlan plan{.who = "learner rank", .count = ranks_};
    const auto add = [&](const std::string& what, double bytes) {
      plan.lines.push_back({what, bytes, bytes / ranks_});
    };
    if (on_.value_bytes < 4) add("weights, bf16", parameters_ * on_.value_bytes);
    add("master weights, fp32", parameters_ * kMasterBytes);
    add(passes > 1 ? "gradients, fp32, one a thread" : "gradients, fp32",
        passes * parameters_ * kMasterBytes);
    add("Adam's moments, fp32", 2 * parameters_ * kMasterBytes);
    if (keeps_reference_) add("reference policy", parameters_ * on_.value_bytes);
    const double held = passes * static_cast<double>(pass.peak - pass.gradients);
    const double gradients = passes * static_cast<double>(pass.gradients);
    plan.lines.push_back({absl::StrFormat("passes over %d tokens", tokens), held + gradients,
                          held + gradients / ranks_});
    return plan;
  }

  WeightBytes WorkerWeightBytes() const {
    const bool fp8 = config_.worker().expert_weights() == "fp8";
    return {.of_expert = fp8 ? kFp8ExpertBytes : on_.value_bytes,
            .of_other = static_cast<double>(on_.value_bytes)};
  }

  MemoryPlan PlanRollout() const {
    MemoryPlan plan{.who = "rollout worker", .count = workers_};
    const double weights = HeldBytes(spec_, WorkerWeightBytes());
    plan.lines.push_back({"weights", weights, weights / workers_});
    plan.lines.push_back({"KV cache", CacheBytes(), CacheBytes()});
    return plan;
  }

  StagePlan PlanStage(const v1::StageConfig& stage) const {
    StagePlan plan{.name = stage.name(), .kind = stage.kind()};
    if (stage.has_grpo()) PlanGrpo(stage, plan);
    if (stage.has_rejection_sampling()) PlanSampling(stage, plan);
    if (stage.has_distill()) PlanDistillation(stage, plan);
    if (stage.has_pretrain()) {
      PlanUpdates(stage, stage.pretrain().updates_max(), stage.pretrain().sequences_per_update(),
                  plan);
    }
    if (stage.has_sft()) {
      // How many updates an epoch has, the data will tell.
      const bool has_epochs = stage.sft().epochs() > 0;
      PlanUpdates(stage, has_epochs ? 1 : stage.sft().updates_max(),
                  stage.sft().sequences_per_update(), plan);
    }
    return plan;
  }

  void PlanUpdates(const v1::StageConfig& stage, int64_t updates, int sequences,
                   StagePlan& plan) const {
    const double length = PromptTokens(stage) + ResponseTokens(stage);
    plan.steps = static_cast<double>(updates);
    plan.tokens = sequences * length;
    AddTraining(plan.tokens, length, 1, 1, plan);
  }

  void PlanSampling(const v1::StageConfig& stage, StagePlan& plan) const {
    const v1::RejectionSamplingConfig& sampling = stage.rejection_sampling();
    const double prompts = sampling.prompts_per_step();
    const double sequences = prompts * sampling.samples_per_prompt();
    plan.steps = std::max(1.0, std::ceil(static_cast<double>(sampling.prompts()) / prompts));
    plan.tokens = sequences * (PromptTokens(stage) + ResponseTokens(stage));
    AddGeneration(prompts, sequences, PromptTokens(stage), ResponseTokens(stage), plan);
  }

  void PlanDistillation(const v1::StageConfig& stage, StagePlan& plan) const {
    const v1::DistillConfig& distill = stage.distill();
    const double prompts = distill.prompts_per_step();
    const double sequences = prompts * distill.samples_per_prompt();
    const double length = PromptTokens(stage) + ResponseTokens(stage);
    plan.steps = static_cast<double>(distill.steps());
    plan.tokens = sequences * length;
    AddGeneration(prompts, sequences, PromptTokens(stage), ResponseTokens(stage), plan);
    AddForward("logprobs of the teacher", plan.tokens, length, plan);
    AddTraining(plan.tokens, length, 1,
                std::max(1.0, sequences / std::max(1, distill.sequences_per_update())), plan);
    AddPhase("push weights (network)", workers_, 0, workers_ * parameters_ * on_.value_bytes, plan);
  }

  void PlanGrpo(const v1::StageConfig& stage, StagePlan& plan) const {
    const v1::GrpoConfig& grpo = stage.grpo();
    const double prompts = grpo.prompts_per_step();
    const double length = PromptTokens(stage) + ResponseTokens(stage);
    const double sequences = prompts * grpo.samples_per_prompt();
    const double updates =
        std::max(1.0, sequences / std::max(1, grpo.sequences_per_update())) * grpo.inner_epochs();
    plan.steps = static_cast<double>(grpo.steps());
    plan.tokens = sequences * length;
    AddGeneration(prompts, sequences, PromptTokens(stage), ResponseTokens(stage), plan);
    if (updates > 1) AddForward("logprobs of the policy", plan.tokens, length, plan);
    if (KeepsReference(grpo)) AddForward("logprobs of the reference", plan.tokens, length, plan);
    AddTraining(plan.tokens, length, grpo.inner_epochs(), updates, plan);
    AddPhase("push weights (network)", workers_, 0, workers_ * parameters_ * on_.value_bytes, plan);
  }

  // Prompts once, then one token a sample and step, as many samples at a time as there is room for.
  void AddGeneration(double prompts, double sequences, double prompt, double response,
                     StagePlan& plan) const {
    const double at_once =
        std::max(1.0, std::min(running_samples_, std::ceil(sequences / workers_)));
    const double rounds = std::ceil(sequences / workers_ / at_once);
    const double context = prompt + response / 2;
    const double cached = static_cast<double>(CacheValues(spec_)) * on_.value_bytes;
    const double flops =
        prompts * prompt * (ProductFlops(spec_) + AttentionFlops(spec_, prompt / 2, false)) +
        sequences * response * (ProductFlops(spec_) + AttentionFlops(spec_, context, true));
    const double bytes =
        workers_ * rounds * response * TouchedBytes(spec_, at_once, WorkerWeightBytes()) +
        sequences * response * context * cached;
    AddPhase("generate", workers_, flops, bytes, plan);
  }

  double ForwardFlops(double tokens, double length) const {
    return tokens * (ProductFlops(spec_) + AttentionFlops(spec_, length / 2, false));
  }
  double MicroBatches(double tokens, double length) const {
    return std::ceil(tokens / std::max<double>(config_.learner().tokens_per_rank_max(), length));
  }

  void AddForward(const std::string& what, double tokens, double length, StagePlan& plan) const {
    AddPhase(what, ranks_, ForwardFlops(tokens, length),
             MicroBatches(tokens, length) * parameters_ * on_.value_bytes, plan);
  }

  void AddTraining(double tokens, double length, double epochs, double updates,
                   StagePlan& plan) const {
    const double passes = config_.learner().activation_recompute() ? 4 : 3;
    const double batches = epochs * MicroBatches(tokens, length);
    AddPhase("train", ranks_, epochs * passes * ForwardFlops(tokens, length),
             batches * parameters_ * (passes * on_.value_bytes + 2 * kMasterBytes), plan);
    AddPhase("update weights", ranks_, 0, updates * ranks_ * parameters_ * kUpdateBytes, plan);
    if (ranks_ > 1) {
      AddPhase("reduce gradients (network)", ranks_, 0,
               updates * 2 * (ranks_ - 1) * parameters_ * kMasterBytes, plan);
    }
  }

  // What crosses the network has no floor here: its speed is not known.
  void AddPhase(const std::string& what, int devices, double flops, double bytes,
                StagePlan& plan) const {
    const bool is_network = what.ends_with("(network)");
    const double seconds =
        is_network ? 0 : std::max(flops / on_.flops, bytes / on_.bytes_per_second) / devices;
    plan.phases.push_back({what, devices, flops, bytes, seconds});
  }

  void AddProblems(RunPlan& plan) const {
    for (const MemoryPlan* memory : {&plan.learner, &plan.rollout}) {
      if (memory->bytes() <= on_.memory_bytes) continue;
      std::string problem = absl::StrCat("a ", memory->who, " needs ", Gigabytes(memory->bytes()),
                                         ", ", on_.name, " has ", Gigabytes(on_.memory_bytes));
      absl::StrAppend(&problem, "; cut into equal parts over ", memory->count,
                      " of them it would be ", Gigabytes(memory->sharded_bytes()),
                      memory->sharded_bytes() <= on_.memory_bytes ? ", which fits" : "",
                      " (r1 does not cut weights yet)");
      plan.problems.push_back(problem);
    }
    if (generates_ && running_samples_ < 1) {
      plan.problems.push_back(absl::StrCat(
          "rollout.kv_cache_mib = ", config_.rollout().kv_cache_mib(),
          " does not hold one sample of ", static_cast<int64_t>(longest_), " tokens, which takes ",
          Gigabytes(static_cast<double>(CacheValues(spec_)) * on_.value_bytes * longest_)));
    }
    if (longest_ > spec_.positions_max) {
      plan.problems.push_back(
          absl::StrCat("prompt and response may have ", static_cast<int64_t>(longest_),
                       " tokens, the model has ", spec_.positions_max, " positions"));
    }
  }

  const v1::Config& config_;
  const PlanLoad load_;
  const ModelSpec& spec_;
  const Accelerator on_;
  int ranks_;
  int workers_;
  const double parameters_;
  double longest_ = 0;  // tokens of a sequence
  double running_samples_ = 0;
  bool generates_ = false;
  bool keeps_reference_ = false;
};

}  // namespace

absl::StatusOr<Accelerator> FindAccelerator(const std::string& name) {
  const std::vector<Accelerator> known = {
      Gpu("h200", 141, 4.8, 989),
      Gpu("h100", 80, 3.35, 989),
      Gpu("h800", 80, 3.35, 989),
      Gpu("a100", 80, 2.04, 312),
      // A core of a server: its memory is the machine's, its speed what docs/performance.md found.
      {.name = "cpu",
       .memory_bytes = 64e9,
       .bytes_per_second = 10e9,
       .flops = 80e9,
       .value_bytes = 4}};
  std::vector<std::string> names;
  for (const Accelerator& one : known) {
    if (one.name == name) return one;
    names.push_back(one.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("expected one of ", absl::StrJoin(names, ", "),
                                                 ", found ", Quoted(name),
                                                 DidYouMean(name, names)));
}

double MemoryPlan::bytes() const { return Sum(lines, &MemoryLine::bytes); }
double MemoryPlan::sharded_bytes() const { return Sum(lines, &MemoryLine::sharded_bytes); }

double StagePlan::seconds() const {
  double sum = 0;
  for (const Phase& phase : phases) sum += phase.seconds;
  return sum;
}

RunPlan PlanRun(const v1::Config& config, const ModelSpec& spec, const Accelerator& accelerator,
                const PlanLoad& load) {
  return Planner(config, spec, accelerator, load).Plan();
}

}  // namespace r1::learner
