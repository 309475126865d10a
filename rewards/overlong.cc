// `overlong`: a penalty for responses that come near the token limit, so that a cut response is not
// the first thing that is punished. DAPO's soft overlong punishment (2503.14476, eq. 13), with
// n = n_tokens, L_max = overlong.max_completion_len and L_cache = overlong.soft_punish_cache:
//
//    0                              n <= L_max - L_cache
//   (L_max - L_cache - n) / L_cache  L_max - L_cache < n <= L_max
//   -1                              n > L_max
//
// It counts tokens, never characters: a row without n_tokens is an error.

#include "absl/strings/str_cat.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class OverlongReward : public Reward {
 public:
  OverlongReward(int64_t tokens_max, int64_t cache) : tokens_max_(tokens_max), cache_(cache) {}

  Range range() const override { return {-1, 0}; }

  Score ScoreSample(const RewardInput& input) const override {
    if (!input.n_tokens) {
      return ErrorScore("no_n_tokens", "n_tokens: expected the response's length, found nothing");
    }
    const int64_t over = *input.n_tokens - (tokens_max_ - cache_);
    if (over <= 0) return {.reason = "within_limit"};
    if (over > cache_) return {.value = -1, .reason = "over_limit"};
    return {.value = -static_cast<double>(over) / static_cast<double>(cache_),
            .reason = "near_limit"};
  }

 private:
  const int64_t tokens_max_;
  const int64_t cache_;
};

absl::StatusOr<std::unique_ptr<Reward>> Make(const v1::RewardConfig& config) {
  const v1::OverlongRewardConfig& settings = config.overlong();
  if (settings.soft_punish_cache() > settings.max_completion_len()) {
    return absl::InvalidArgumentError(
        absl::StrCat("overlong.soft_punish_cache: expected at most max_completion_len = ",
                     settings.max_completion_len(), ", found ", settings.soft_punish_cache()));
  }
  return std::make_unique<OverlongReward>(settings.max_completion_len(),
                                          settings.soft_punish_cache());
}

R1_REGISTER(RewardRegistry, "overlong", Make);

}  // namespace
}  // namespace r1::rewards
