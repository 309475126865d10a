#include "learner/stages/prompt_lease.h"

namespace r1::learner {

absl::StatusOr<v1::Lease> MakePromptLease(const Tokenizer& tokenizer, const PromptRow& row,
                                          const LeaseSettings& settings) {
  R1_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, EncodePrompt(tokenizer, row));
  v1::Lease lease;
  lease.set_stage_index(settings.stage_index);
  lease.set_purpose(v1::PURPOSE_TRAIN);
  lease.set_group_id(settings.group_id);
  lease.set_prompt_id(row.prompt_id);
  lease.set_prompt_text(row.prompt);
  lease.mutable_prompt_ids()->Add(ids.begin(), ids.end());
  lease.set_think_prefilled(row.think_prefilled);
  lease.set_answer(row.answer);
  lease.set_columns_json(row.columns_json);
  for (int i = 0; i < settings.samples; ++i) lease.add_missing_samples(static_cast<uint32_t>(i));
  lease.mutable_sampling()->set_temperature(settings.temperature);
  lease.mutable_sampling()->set_response_tokens_max(settings.response_tokens_max);
  lease.mutable_sampling()->mutable_stop_ids()->Add(settings.stop_ids.begin(),
                                                    settings.stop_ids.end());
  lease.set_policy_version(settings.policy_version);
  lease.set_learner_rank(settings.learner_rank);
  lease.set_reward_set(settings.reward_set);
  return lease;
}

}  // namespace r1::learner
