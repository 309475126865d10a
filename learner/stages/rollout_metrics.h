// Numbers about a step's scored groups (rewards, lengths, mismatch between learner and worker),
// summed over ranks.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "learner/batcher.h"
#include "learner/collectives.h"
#include "proto/rollout.pb.h"

namespace r1::learner {

// Not thread-safe. Fill on every rank, then Reduce on every rank.
class RolloutMetrics {
 public:
  explicit RolloutMetrics(int64_t response_tokens_max);

  // All samples of a group; `equal_rewards`: no signal. `lag`: versions behind the policy that it
  // trains.
  void AddGroup(const v1::Group& group, bool equal_rewards, uint64_t lag);
  // The learner's logprobs of a sample's tokens beside those of the worker that sampled it, both on
  // the same weights.
  void AddMismatch(std::span<const float> learner_logprobs, std::span<const float> worker_logprobs);

  // Sampled tokens of this rank.
  int64_t sampled_tokens() const { return static_cast<int64_t>(sums_[kTokens]); }

  // Collective.
  void Reduce(Collectives& collectives, std::map<std::string, double>& values);

 private:
  enum Sum {
    kGroups,
    kEqualGroups,
    kSamples,
    kMasked,
    kReward,
    kRewardSquared,
    kTokens,
    kTruncated,
    kTerminatedTokens,
    kLag,
    kLagMax,
    kScoreSeconds,
    kMismatchTokens,
    kMismatchAbs,
    kMismatchKl,
    kWeight,
    kWeightSquared,
    kSums
  };

  void AddPart(const v1::RewardPart& part, bool masked);
  // What rewards, their sub-scores and their reasons come to. Collective.
  void ReduceParts(Collectives& collectives, std::map<std::string, double>& values);

  const int64_t bucket_tokens_;
  std::vector<double> sums_;
  double prob_diff_max_ = 0;
  double generate_seconds_max_ = 0;
  std::map<std::string, std::pair<double, double>> means_;        // metric -> sum, count
  std::map<std::string, std::map<std::string, double>> reasons_;  // "reward/<name>/" -> counts
  std::vector<int64_t> lengths_;  // histogram in buckets of bucket_tokens_
};

}  // namespace r1::learner
