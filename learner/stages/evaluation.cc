#include "learner/stages/evaluation.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "common/accuracy_rewards.h"
#include "learner/evaluation_metrics.h"
#include "learner/reward_sets.h"

namespace r1::learner {
namespace {

int GroupsPerPrompt(const EvalPlan& plan) { return plan.greedy ? 2 : 1; }

v1::Lease MakeLease(const EvalPlan& plan, const PromptRow& row,
                    const std::vector<int32_t>& prompt_ids, const std::vector<int32_t>& stop_ids) {
  v1::Lease lease;
  lease.set_purpose(v1::PURPOSE_EVAL);
  lease.set_prompt_id(row.prompt_id);
  lease.set_prompt_text(row.prompt);
  lease.mutable_prompt_ids()->Add(prompt_ids.begin(), prompt_ids.end());
  lease.set_think_prefilled(row.think_prefilled);
  lease.set_answer(row.answer);
  lease.set_columns_json(row.columns_json);
  lease.mutable_sampling()->set_response_tokens_max(plan.response_tokens_max);
  lease.mutable_sampling()->mutable_stop_ids()->Add(stop_ids.begin(), stop_ids.end());
  lease.set_reward_set(plan.textbook ? kTextbookRewardSet : kAnswerRewardSet);
  return lease;
}

EvaluatedSample Evaluate(const v1::Sample& sample) {
  EvaluatedSample evaluated{.tokens = sample.token_ids_size()};
  if (sample.masked()) return evaluated;
  for (const v1::RewardPart& part : sample.parts()) {
    const bool judges_answer =
        part.name() == "textbook" || absl::c_linear_search(kAccuracyRewards, part.name());
    if (judges_answer) evaluated.correct = part.value() == 1;
    if (part.name() == "format") evaluated.well_formed = part.value() == 1;
  }
  return evaluated;
}

}  // namespace

absl::StatusOr<std::vector<v1::Lease>> MakeEvalLeases(const EvalPlan& plan,
                                                      const EvalSource& source,
                                                      uint32_t stage_index, uint64_t first_group_id,
                                                      uint64_t policy_version) {
  if (plan.textbook && source.task == nullptr) {
    return absl::InvalidArgumentError("only built-in tasks have prompts in textbook form");
  }
  const uint64_t available =
      plan.textbook ? source.task->size(plan.split) : source.prompts->size(plan.split);
  const uint64_t prompts = std::min<uint64_t>(available, static_cast<uint64_t>(plan.prompts));
  std::vector<v1::Lease> leases;
  for (uint64_t i = 0; i < prompts; ++i) {
    // Evaluation rows do not depend on the seed (common/tasks/task.h).
    const PromptRow row = plan.textbook ? source.task->TextbookPrompt(plan.split, i)
                                        : source.prompts->Prompt(plan.split, 0, 0, i);
    R1_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, EncodePrompt(*source.tokenizer, row));
    for (int kind = 0; kind < GroupsPerPrompt(plan); ++kind) {
      v1::Lease lease = MakeLease(plan, row, ids, source.stop_ids);
      const bool greedy = kind == 1;
      lease.set_stage_index(stage_index);
      lease.set_group_id(first_group_id + leases.size());
      lease.set_policy_version(policy_version);
      lease.mutable_sampling()->set_temperature(greedy ? 0 : plan.temperature);
      for (int sample = 0; sample < (greedy ? 1 : plan.samples_per_prompt); ++sample) {
        lease.add_missing_samples(static_cast<uint32_t>(sample));
      }
      leases.push_back(std::move(lease));
    }
  }
  return leases;
}

EvalResult SummarizeEval(const EvalPlan& plan, const std::vector<v1::Group>& groups) {
  const int groups_per_prompt = GroupsPerPrompt(plan);
  R1_CHECK(groups.size() % static_cast<size_t>(groups_per_prompt) == 0);
  std::vector<EvaluatedPrompt> prompts(groups.size() / static_cast<size_t>(groups_per_prompt));
  double correct = 0;
  double samples = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    EvaluatedPrompt& prompt = prompts[i / static_cast<size_t>(groups_per_prompt)];
    const bool greedy = i % static_cast<size_t>(groups_per_prompt) == 1;
    for (const v1::Sample& sample : groups[i].samples()) {
      const EvaluatedSample evaluated = Evaluate(sample);
      if (greedy) {
        prompt.greedy = evaluated;
        continue;
      }
      prompt.sampled.push_back(evaluated);
      correct += evaluated.correct ? 1 : 0;
      samples += 1;
    }
  }
  EvalResult result;
  AddEvaluationMetrics(plan.set, prompts, result.values);
  if (plan.textbook)
    result.values.erase("eval/" + plan.set + "/format_frac");  // textbook texts have no tags
  result.pass_at_1 = samples > 0 ? correct / samples : 0;
  return result;
}

v1::SampleRecord MakeSampleRecord(const std::string& stage, int64_t step,
                                  const std::string& purpose, const PromptRow& prompt,
                                  const v1::Group& group, const v1::Sample& sample) {
  v1::SampleRecord record;
  record.set_stage(stage);
  record.set_step(step);
  record.set_group_id(group.group_id());
  record.set_purpose(purpose);
  record.set_prompt(prompt.prompt);
  record.set_answer(prompt.answer);
  record.set_sample_index(sample.sample_index());
  record.set_text(sample.text());
  record.set_tokens(static_cast<uint32_t>(sample.token_ids_size()));
  record.set_reward(sample.reward());
  *record.mutable_parts() = sample.parts();
  record.set_finish_reason(sample.finish_reason());
  record.set_policy_version(group.policy_version());
  return record;
}

}  // namespace r1::learner
