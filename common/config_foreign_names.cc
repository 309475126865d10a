// From the documented options of verl, slime, TRL, NeMo-RL and prime-rl, and of Python's usual
// trainers. Sizes of batches are where their words differ most: a mini-batch of verl is counted in
// prompts, ours (sequences_per_update) in sequences.
#include "common/config_foreign_names.h"

namespace r1 {

const std::map<std::string, std::string>& ForeignConfigNames() {
  static const auto* names = new std::map<std::string, std::string>{
      {"learning_rate", "optimizer.lr"},
      {"warmup_steps", "optimizer.warmup_updates"},
      {"lr_scheduler_type", "optimizer.decay"},
      {"max_grad_norm", "optimizer.grad_clip_norm"},
      {"clip_grad", "optimizer.grad_clip_norm"},
      {"model_name_or_path", "model.path"},
      {"model_name", "model.path"},
      {"dataset_name", "data.train_files"},
      {"prompt_data", "data.train_files"},
      {"val_files", "data.eval_files"},
      {"max_prompt_length", "data.prompt_tokens_max"},
      {"max_response_length", "sampling.response_tokens_max"},
      {"max_completion_length", "sampling.response_tokens_max"},
      {"max_completion_tokens", "sampling.response_tokens_max"},
      {"max_new_tokens", "sampling.response_tokens_max"},
      {"batch_size", "grpo.prompts_per_step"},
      {"train_batch_size", "grpo.prompts_per_step"},
      {"rollout_batch_size", "grpo.prompts_per_step"},
      {"num_prompts_per_step", "grpo.prompts_per_step"},
      {"num_generations", "grpo.samples_per_prompt"},
      {"num_generations_per_prompt", "grpo.samples_per_prompt"},
      {"n_samples_per_prompt", "grpo.samples_per_prompt"},
      {"group_size", "grpo.samples_per_prompt"},
      {"mini_batch_size", "grpo.sequences_per_update"},
      {"ppo_mini_batch_size", "grpo.sequences_per_update"},
      {"global_batch_size", "grpo.sequences_per_update"},
      {"train_global_batch_size", "grpo.sequences_per_update"},
      {"micro_batch_size", "learner.tokens_per_rank_max"},
      {"max_tokens_per_gpu", "learner.tokens_per_rank_max"},
      {"ppo_epochs", "grpo.inner_epochs"},
      {"num_iterations", "grpo.inner_epochs"},
      {"max_steps", "grpo.steps"},
      {"total_training_steps", "grpo.steps"},
      {"beta", "grpo.kl_coef"},
      {"kl_loss_coef", "grpo.kl_coef"},
      {"kl_tau", "grpo.kl_coef"},
      {"kl_loss_type", "grpo.kl_estimator"},
      {"ref_update_interval", "grpo.reference_refresh_updates"},
      {"ref_model_sync_steps", "grpo.reference_refresh_updates"},
      {"epsilon", "grpo.clip_low"},
      {"eps_clip", "grpo.clip_low"},
      {"clip_ratio", "grpo.clip_low"},
      {"clip_ratio_low", "grpo.clip_low"},
      {"epsilon_high", "grpo.clip_high"},
      {"eps_clip_high", "grpo.clip_high"},
      {"clip_ratio_high", "grpo.clip_high"},
      {"scale_rewards", "grpo.normalize_std"},
      {"norm_adv_by_std_in_grpo", "grpo.normalize_std"},
      {"loss_agg_mode", "grpo.loss_aggregation"},
      {"loss_type", "grpo.loss_aggregation"},
      {"max_off_policy_steps", "grpo.policy_lag_max"},
      {"staleness_threshold", "grpo.policy_lag_max"},
      {"save_freq", "checkpoint.every_steps"},
      {"save_steps", "checkpoint.every_steps"},
      {"save_interval", "checkpoint.every_steps"},
      {"test_freq", "eval.every_steps"},
      {"eval_steps", "eval.every_steps"},
      {"eval_interval", "eval.every_steps"},
      {"n_samples_per_eval_prompt", "eval.samples_per_prompt"},
  };
  return *names;
}

}  // namespace r1
