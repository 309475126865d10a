#include "learner/stages/rollout_metrics.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace r1::learner {
namespace {

constexpr int64_t kLengthBuckets = 4096;
constexpr int kReasonsMax = 16;  // of one reward; the others count together

}  // namespace

RolloutMetrics::RolloutMetrics(int64_t response_tokens_max)
    : bucket_tokens_(response_tokens_max / kLengthBuckets + 1),
      sums_(kSums),
      lengths_(static_cast<size_t>(response_tokens_max / bucket_tokens_ + 1)) {}

void RolloutMetrics::AddGroup(const v1::Group& group, bool equal_rewards, uint64_t lag) {
  sums_[kGroups] += 1;
  sums_[kEqualGroups] += equal_rewards ? 1 : 0;
  sums_[kLag] += static_cast<double>(lag);
  sums_[kLagMax] = std::max(sums_[kLagMax], static_cast<double>(lag));
  generate_seconds_max_ = std::max(generate_seconds_max_, group.timings().generate_seconds());
  sums_[kScoreSeconds] += group.timings().score_seconds();
  for (const v1::Sample& sample : group.samples()) {
    const int64_t tokens = sample.token_ids_size();
    sums_[kSamples] += 1;
    sums_[kTokens] += static_cast<double>(tokens);
    const bool truncated = sample.finish_reason() == v1::FINISH_REASON_LENGTH;
    sums_[kTruncated] += truncated ? 1 : 0;
    sums_[kTerminatedTokens] += truncated ? 0 : static_cast<double>(tokens);
    lengths_[std::min(static_cast<size_t>(tokens / bucket_tokens_), lengths_.size() - 1)] += 1;
    for (const v1::RewardPart& part : sample.parts()) AddPart(part, sample.masked());
    if (sample.masked()) {
      sums_[kMasked] += 1;
      continue;
    }
    sums_[kReward] += sample.reward();
    sums_[kRewardSquared] += sample.reward() * sample.reward();
  }
}

void RolloutMetrics::AddPart(const v1::RewardPart& part, bool masked) {
  const std::string name = absl::StrCat("reward/", part.name(), "/");
  reasons_[name][part.reason()] += 1;
  if (masked) return;
  const auto add = [this](const std::string& key, double value) {
    auto& [sum, count] = means_[key];
    sum += value;
    count += 1;
  };
  add(absl::StrCat(name, "mean"), part.value());
  for (const v1::RewardSubScore& score : part.sub_scores()) {
    add(absl::StrCat(name, score.name(), "/mean"), score.value());
  }
}

void RolloutMetrics::AddMismatch(std::span<const float> learner_logprobs,
                                 std::span<const float> worker_logprobs) {
  R1_CHECK(learner_logprobs.size() == worker_logprobs.size());
  for (size_t i = 0; i < learner_logprobs.size(); ++i) {
    const double learner = learner_logprobs[i];
    const double worker = worker_logprobs[i];
    const double log_ratio = learner - worker;
    const double weight = std::exp(std::clamp(log_ratio, -20.0, 20.0));
    sums_[kMismatchTokens] += 1;
    sums_[kMismatchAbs] += std::abs(log_ratio);
    sums_[kMismatchKl] += std::expm1(std::clamp(log_ratio, -20.0, 20.0)) - log_ratio;
    sums_[kWeight] += weight;
    sums_[kWeightSquared] += weight * weight;
    prob_diff_max_ = std::max(prob_diff_max_, std::abs(std::exp(learner) - std::exp(worker)));
  }
}

void RolloutMetrics::Reduce(Collectives& collectives, std::map<std::string, double>& values) {
  const double lag_max = AllReduceMax(collectives, sums_[kLagMax]);
  const double prob_diff_max = AllReduceMax(collectives, prob_diff_max_);
  const double generate_seconds_max = AllReduceMax(collectives, generate_seconds_max_);
  collectives.AllReduceSum(std::span<double>(sums_));
  collectives.AllReduceSum(std::span<int64_t>(lengths_));

  const double samples = std::max(sums_[kSamples], 1.0);
  const double scored = std::max(sums_[kSamples] - sums_[kMasked], 1.0);
  values["reward/mean"] = sums_[kReward] / scored;
  values["reward/std"] = std::sqrt(
      std::max(0.0, sums_[kRewardSquared] / scored - std::pow(sums_[kReward] / scored, 2)));
  values["reward/masked_frac"] = sums_[kMasked] / samples;
  values["group/zero_std_frac"] = sums_[kEqualGroups] / std::max(sums_[kGroups], 1.0);
  values["tokens/sampled"] = sums_[kTokens];
  values["length/mean"] = sums_[kTokens] / samples;
  values["length/truncated_frac"] = sums_[kTruncated] / samples;
  values["length/terminated_mean"] =
      sums_[kTerminatedTokens] / std::max(sums_[kSamples] - sums_[kTruncated], 1.0);
  values["lag/mean"] = sums_[kLag] / std::max(sums_[kGroups], 1.0);
  values["lag/max"] = lag_max;
  values["time/worker_generate_max"] = generate_seconds_max;
  values["time/worker_score"] = sums_[kScoreSeconds];
  if (sums_[kMismatchTokens] > 0) {
    values["mismatch/logprob_abs_mean"] = sums_[kMismatchAbs] / sums_[kMismatchTokens];
    values["mismatch/kl"] = sums_[kMismatchKl] / sums_[kMismatchTokens];
    values["mismatch/prob_diff_max"] = prob_diff_max;
    values["mismatch/ess"] = sums_[kWeight] * sums_[kWeight] /
                             std::max(sums_[kWeightSquared] * sums_[kMismatchTokens], 1e-300);
  }

  // Percentiles from the histogram; exact when a bucket is one token wide.
  int64_t seen = 0;
  for (size_t bucket = 0; bucket < lengths_.size(); ++bucket) {
    const int64_t before = seen;
    seen += lengths_[bucket];
    const auto reaches = [&](double share) {
      const double rank = share * sums_[kSamples];
      return static_cast<double>(before) < rank && static_cast<double>(seen) >= rank;
    };
    const auto length = static_cast<double>(bucket) * static_cast<double>(bucket_tokens_);
    if (reaches(0.5)) values["length/p50"] = length;
    if (reaches(0.95)) values["length/p95"] = length;
    if (lengths_[bucket] > 0) values["length/max"] = length;
  }

  ReduceParts(collectives, values);
}

void RolloutMetrics::ReduceParts(Collectives& collectives, std::map<std::string, double>& values) {
  std::set<std::string> keys;
  for (const auto& [key, mean] : means_) keys.insert(key);
  for (const std::string& key : AllGatherNames(collectives, keys)) {
    double mean[2] = {means_[key].first, means_[key].second};
    collectives.AllReduceSum(std::span<double>(mean));
    values[key] = mean[0] / std::max(mean[1], 1.0);
  }

  // A plugin may give as many reasons as it likes; a row of metrics has an end.
  std::set<std::string> names;
  for (const auto& [name, counts] : reasons_) {
    for (const auto& [reason, count] : counts) names.insert(absl::StrCat(name, "\t", reason));
  }
  std::map<std::string, int> reasons_of_reward;
  for (const std::string& joined : AllGatherNames(collectives, names)) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(joined, absl::MaxSplits('\t', 1));
    const auto& [name, reason] = parts;
    double count = reasons_[name][reason];
    collectives.AllReduceSum(std::span<double>(&count, 1));
    const bool is_own = ++reasons_of_reward[name] <= kReasonsMax;
    values[absl::StrCat(name, "reason/", is_own ? reason : "other", "_frac")] +=
        count / std::max(sums_[kSamples], 1.0);
  }
}

}  // namespace r1::learner
