// Text and reward of a finished sample: decodes the response and asks each reward of the lease's
// set. Immutable, thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/tokenizer.h"
#include "proto/rollout.pb.h"
#include "rewards/reward.h"

namespace r1::rollout {

class Scorer {
 public:
  struct WeightedReward {
    std::string name;
    double weight = 1;
    v1::RewardRowsConfig rows = {};  // that it judges
    std::unique_ptr<const rewards::Reward> reward;
  };
  using RewardSets = std::map<std::string, std::vector<WeightedReward>>;

  Scorer(std::unique_ptr<const Tokenizer> tokenizer, RewardSets reward_sets, uint64_t run_seed)
      : tokenizer_(std::move(tokenizer)),
        reward_sets_(std::move(reward_sets)),
        run_seed_(run_seed) {}

  // A sample whose reward failed is leased so often before its fate is decided: by another worker
  // each time, if there is one that asks first.
  static constexpr uint32_t kLeasesMax = 3;

  // Fills text, parts, reward and masked of a sample that has tokens and finish reason. The text
  // leaves the stop token out. A sample of a row that no reward judges is masked. Internal: a
  // reward threw or gave a value that is not finite. Unavailable: a reward failed on the sample,
  // and another worker should try.
  [[nodiscard]] absl::Status Score(const v1::Lease& lease, v1::Sample& sample) const;

 private:
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const RewardSets reward_sets_;
  const uint64_t run_seed_;
};

}  // namespace r1::rollout
