// `coin_flip`: 1 or 0 with even odds, whatever the response says. A control: a run that learns
// under it has a fault in its measurement. The coin is a pure function of (run_seed, stage_index,
// group_id, sample_index), so a sample that is scored again lands on the same side.

#include "common/rng.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class CoinFlipReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    const Rng rng(input.run_seed, input.stage_index, RngPurpose::kReward, input.group_id,
                  input.sample_index);
    if (rng.UniformAt(0) < 0.5) return {.value = 1, .reason = "heads"};
    return {.value = 0, .reason = "tails"};
  }
};

R1_REGISTER(RewardRegistry, "coin_flip", MakeWithoutSettings<CoinFlipReward>);

}  // namespace
}  // namespace r1::rewards
