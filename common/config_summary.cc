// What --dry-run says about a config's sizes. Every count names its unit and scope: most questions
// about RL configs are about batch-size words.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/config.h"
#include "common/schedule.h"

namespace r1 {
namespace {

// Saturates: the largest values of a config multiply to more than 64 bits.
int64_t Product(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<int64_t>::max() : product;
}

// "179,200"
std::string Count(int64_t value) {
  std::string digits = absl::StrCat(value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), 1, ',');
  }
  return digits;
}

// "1 worker", "2 workers"
std::string Plural(int64_t count, const std::string& noun) {
  return absl::StrCat(Count(count), " ", noun, count == 1 ? "" : "s");
}

std::string Bytes(int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.1f %s", value, units[unit]);
}

// One line, "name        text".
void AppendLine(const std::string& name, const std::string& text, std::string& summary) {
  absl::StrAppendFormat(&summary, "%-12s%s\n", name, text);
}

bool KeepsReference(const v1::Config& config) {
  for (const v1::StageConfig& stage : config.stage()) {
    for (const v1::SchedulePoint& point : stage.grpo().kl_coef().points()) {
      if (point.value() != 0) return true;
    }
  }
  return false;
}

void AppendLearner(const v1::Config& config, int64_t parameters, std::string& summary) {
  const v1::LearnerConfig& learner = config.learner();
  const int64_t copy = Product(parameters, sizeof(float));
  const bool on_cpu = learner.device() == "cpu";
  const int64_t gradients = Product(copy, on_cpu ? learner.threads() : 1);
  const int64_t adam = Product(copy, 2);
  const int64_t reference = KeepsReference(config) ? copy : 0;
  AppendLine(
      "learner",
      absl::StrCat(Plural(learner.ranks(), "rank"), " x ", Plural(learner.threads(), "thread"),
                   ", micro-batches of at most ", Count(learner.tokens_per_rank_max()), " tokens",
                   on_cpu ? "" : absl::StrCat(", computed on ", learner.device())),
      summary);
  std::string text =
      absl::StrCat("per rank, fp32: parameters ", Bytes(copy), ", gradients ", Bytes(gradients),
                   on_cpu ? " (one copy a thread)" : "", ", Adam ", Bytes(adam));
  if (reference > 0) absl::StrAppend(&text, ", reference policy ", Bytes(reference));
  AppendLine("", text, summary);
}

void AppendRollout(const v1::RolloutConfig& rollout, const v1::WorkerConfig& worker,
                   std::string& summary) {
  const int64_t mebibyte = int64_t{1} << 20;
  AppendLine(
      "rollout",
      absl::StrCat(Plural(rollout.workers(), "worker"), " x (",
                   Plural(rollout.threads(), "engine thread"), " + ",
                   Plural(rollout.reward_threads(), "reward thread"), "), at most ",
                   Count(rollout.running_samples_max()), " samples at a time each",
                   worker.device() == "cpu" ? "" : absl::StrCat(", generated on ", worker.device()),
                   worker.expert_weights() == "bf16"
                       ? ""
                       : absl::StrCat(" with experts in ", worker.expert_weights())),
      summary);
  AppendLine("",
             absl::StrCat("KV cache ", Bytes(rollout.kv_cache_mib() * mebibyte), " a worker, ",
                          Bytes(Product(rollout.workers(), rollout.kv_cache_mib() * mebibyte)),
                          " together"),
             summary);
}

void AppendSupervised(int64_t sequences_per_update, int64_t updates_max, std::string& summary) {
  AppendLine("",
             absl::StrCat("at most ", Plural(updates_max, "update"), " x ",
                          Plural(sequences_per_update, "sequence"), " = ",
                          Plural(Product(updates_max, sequences_per_update), "sequence")),
             summary);
}

void AppendGrpo(const v1::StageConfig& stage, std::string& summary) {
  const v1::GrpoConfig& grpo = stage.grpo();
  const int64_t sequences = Product(grpo.prompts_per_step(), grpo.samples_per_prompt());
  const int64_t updates =
      Product(sequences / std::max(1, grpo.sequences_per_update()), grpo.inner_epochs());
  const auto response = static_cast<int64_t>(ScheduleMax(stage.sampling().response_tokens_max()));
  const int64_t tokens_per_sequence = int64_t{stage.data().prompt_tokens_max()} + response;
  AppendLine("",
             absl::StrCat("a step: ", Plural(grpo.prompts_per_step(), "prompt"), " x ",
                          Plural(grpo.samples_per_prompt(), "sample"), " = ",
                          Plural(sequences, "sequence"), "; / ", Count(grpo.sequences_per_update()),
                          " sequences an update x ", Plural(grpo.inner_epochs(), "inner epoch"),
                          " = ", Plural(updates, "update")),
             summary);
  AppendLine("",
             absl::StrCat("the stage: ", Plural(grpo.steps(), "step"), " = ",
                          Plural(Product(grpo.steps(), updates), "update"), ", ",
                          Plural(Product(grpo.steps(), sequences), "sequence"), " sampled"),
             summary);
  AppendLine("",
             absl::StrCat("tokens a step: at most ", Count(sequences), " x (prompt ",
                          Count(stage.data().prompt_tokens_max()), " + response ", Count(response),
                          ") = ", Count(Product(sequences, tokens_per_sequence))),
             summary);
}

void AppendRejectionSampling(const v1::StageConfig& stage, std::string& summary) {
  const v1::RejectionSamplingConfig& config = stage.rejection_sampling();
  const std::string samples = Plural(config.samples_per_prompt(), "sample");
  if (config.prompts() == 0) {
    AppendLine("", absl::StrCat("every training row x ", samples), summary);
    return;
  }
  const int64_t all = Product(config.prompts(), config.samples_per_prompt());
  const auto response = static_cast<int64_t>(ScheduleMax(stage.sampling().response_tokens_max()));
  AppendLine(
      "",
      absl::StrCat(Plural(config.prompts(), "prompt"), " x ", samples, " = ", Plural(all, "sample"),
                   ", at most ", Count(Product(all, response)), " tokens"),
      summary);
}

void AppendDistill(const v1::DistillConfig& distill, std::string& summary) {
  const int64_t sequences = Product(distill.prompts_per_step(), distill.samples_per_prompt());
  const int64_t updates = sequences / std::max(1, distill.sequences_per_update());
  AppendLine("",
             absl::StrCat("teacher ", distill.teacher(), ", in every learner rank; a step: ",
                          Plural(distill.prompts_per_step(), "prompt"), " x ",
                          Plural(distill.samples_per_prompt(), "sample"), " = ",
                          Plural(sequences, "sequence"), " = ", Plural(updates, "update")),
             summary);
  AppendLine("",
             absl::StrCat("the stage: ", Plural(distill.steps(), "step"), " = ",
                          Plural(Product(distill.steps(), updates), "update")),
             summary);
}

}  // namespace

std::string ConfigSummary(const v1::Config& config, int64_t parameters) {
  std::string summary;
  const std::string& path = config.model().path();
  AppendLine("run", absl::StrCat(config.run().dir(), ", seed ", config.run().seed()), summary);
  AppendLine("model",
             absl::StrCat(path.empty() ? config.model().preset() : path, ", ", Count(parameters),
                          " parameters"),
             summary);
  AppendLearner(config, parameters, summary);
  AppendRollout(config.rollout(), config.worker(), summary);
  for (int i = 0; i < config.stage_size(); ++i) {
    const v1::StageConfig& stage = config.stage(i);
    AppendLine(absl::StrCat("stage ", i + 1, "/", config.stage_size()),
               absl::StrCat(stage.name(), " (", stage.kind(), ")"), summary);
    if (stage.has_pretrain()) {
      AppendSupervised(stage.pretrain().sequences_per_update(), stage.pretrain().updates_max(),
                       summary);
    }
    if (stage.init() != "previous") AppendLine("", absl::StrCat("from ", stage.init()), summary);
    if (stage.has_sft() && stage.sft().epochs() > 0) {
      AppendLine("",
                 absl::StrCat(Plural(stage.sft().epochs(), "epoch"), " x the rows",
                              stage.sft().from_stage().empty() ? "" : " of stage ",
                              stage.sft().from_stage(), "; ",
                              Plural(stage.sft().sequences_per_update(), "sequence"), " an update"),
                 summary);
    } else if (stage.has_sft()) {
      AppendSupervised(stage.sft().sequences_per_update(), stage.sft().updates_max(), summary);
    }
    if (stage.has_grpo()) AppendGrpo(stage, summary);
    if (stage.has_rejection_sampling()) AppendRejectionSampling(stage, summary);
    if (stage.has_distill()) AppendDistill(stage.distill(), summary);
    for (const v1::RewardConfig& reward : stage.reward()) {
      if (!reward.has_plugin() || reward.plugin().deterministic()) continue;
      AppendLine("",
                 absl::StrCat("reward ", reward.name(),
                              " is not deterministic: two runs may end in different weights"),
                 summary);
    }
  }
  return summary;
}

}  // namespace r1
