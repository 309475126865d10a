#include "learner/stages/stage_metrics.h"

#include <algorithm>

namespace r1::learner {
namespace {

void AddMoeMetrics(const ExpertLoad& load, std::map<std::string, double>& values) {
  values["moe/load_max_over_mean"] = load.max_over_mean;
  values["moe/load_min_over_mean"] = load.min_over_mean;
  values["moe/entropy"] = load.entropy;
  values["moe/dropped_frac"] = 0;  // every token gets its experts: there is no capacity limit
}

}  // namespace

std::map<std::string, double> NextTokenMetrics(const UpdateMetrics& update, const ExpertLoad& load,
                                               double seconds) {
  std::map<std::string, double> values = {
      {"loss/mean", update.loss},
      {"policy/entropy", update.entropy},
      {"optim/grad_norm", update.grad_norm},
      {"optim/lr", update.lr},
      {"optim/skipped_steps", update.skipped ? 1.0 : 0.0},
      {"tokens/trained", static_cast<double>(update.tokens)},
      {"perf/train_tokens_per_second",
       static_cast<double>(update.tokens) / std::max(seconds, 1e-9)}};
  AddMoeMetrics(load, values);
  return values;
}

void AddPolicyUpdateMetrics(const std::vector<UpdateMetrics>& updates, const ExpertLoad& load,
                            double seconds, std::map<std::string, double>& values) {
  UpdateMetrics sum;
  double skipped = 0;
  for (const UpdateMetrics& update : updates) {
    const auto tokens = static_cast<double>(update.target_tokens);
    sum.loss += update.loss;
    sum.grad_norm += update.grad_norm;
    sum.tokens += update.tokens;
    sum.target_tokens += update.target_tokens;
    sum.entropy += update.entropy * tokens;
    sum.clip_low_frac += update.clip_low_frac * tokens;
    sum.clip_high_frac += update.clip_high_frac * tokens;
    sum.kl_ref += update.kl_ref * tokens;
    sum.kl_old += update.kl_old * tokens;
    sum.ratio_max = std::max(sum.ratio_max, update.ratio_max);
    skipped += update.skipped ? 1 : 0;
  }
  const double count = std::max<double>(static_cast<double>(updates.size()), 1);
  const double tokens = std::max<double>(static_cast<double>(sum.target_tokens), 1);
  values["optim/lr"] = updates.empty() ? 0 : updates.back().lr;
  values["optim/skipped_steps"] = skipped;
  values["tokens/trained"] = static_cast<double>(sum.tokens);
  // A step whose groups all have equal rewards trains nothing: there is nothing to report.
  if (sum.tokens == 0) return;
  values["loss/mean"] = sum.loss / count;
  values["optim/grad_norm"] = sum.grad_norm / count;
  values["policy/entropy"] = sum.entropy / tokens;
  values["policy/clip_low_frac"] = sum.clip_low_frac / tokens;
  values["policy/clip_high_frac"] = sum.clip_high_frac / tokens;
  values["policy/kl_ref"] = sum.kl_ref / tokens;
  values["policy/kl_old"] = sum.kl_old / tokens;
  values["policy/ratio_max"] = sum.ratio_max;
  values["perf/train_tokens_per_second"] =
      static_cast<double>(sum.tokens) / std::max(seconds, 1e-9);
  AddMoeMetrics(load, values);
}

}  // namespace r1::learner
