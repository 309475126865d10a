// `length`: minus the distance of the response's length from length.target_tokens, each token of it
// counted length.penalty_per_token: the length term of L1 (2503.04697, eq. 1), which stands beside
// an accuracy reward. kind = "max" counts only the tokens above the target, after the paper's
// maximum-length variant.
//
// DEVIATION: the penalty ends at -1. The paper's has no bound, and one response that runs to the
// token limit would outweigh a group of right answers.
//
// It counts tokens, never characters: a row without n_tokens is an error.

#include <algorithm>

#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class LengthReward : public Reward {
 public:
  explicit LengthReward(const v1::RewardConfig& config)
      : target_tokens_(config.length().target_tokens()),
        penalty_per_token_(config.length().penalty_per_token()),
        below_counts_(config.length().kind() == "exact") {}

  Range range() const override { return {-1, 0}; }

  Score ScoreSample(const RewardInput& input) const override {
    if (!input.n_tokens) {
      return ErrorScore("no_n_tokens", "n_tokens: expected the response's length, found nothing");
    }
    const int64_t above = *input.n_tokens - target_tokens_;
    if (above == 0) return {.reason = "on_target"};
    const char* reason = above > 0 ? "above_target" : "below_target";
    if (above < 0 && !below_counts_) return {.reason = reason};
    const double distance = static_cast<double>(above > 0 ? above : -above);
    // Adding zero turns -0 into 0.
    return {.value = std::max(-1.0, -penalty_per_token_ * distance) + 0.0, .reason = reason};
  }

 private:
  const int64_t target_tokens_;
  const double penalty_per_token_;
  const bool below_counts_;
};

R1_REGISTER(RewardRegistry, "length", MakeWithSettings<LengthReward>);

}  // namespace
}  // namespace r1::rewards
