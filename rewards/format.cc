// `format`: 1 when the response has exactly the form <think>…</think><answer>…</answer> and was
// finished, else 0 with the rule that failed as the reason. The format reward of DeepSeek-R1-Zero
// (2501.12948 §2.2.2), in the strict form of response_format.h.
//
// It looks at tags only: an empty <think></think> scores 1. What is worth thinking is left to the
// accuracy reward; give format a small weight (0.1 beside 0.9), or tags alone are worth having.

#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class FormatReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    const ParsedResponse parsed =
        ParseResponse(input.response, input.finished, input.think_prefilled);
    return {.value = parsed.matches ? 1.0 : 0.0, .reason = parsed.reason};
  }
};

R1_REGISTER(RewardRegistry, "format", [] { return std::make_unique<FormatReward>(); });

}  // namespace
}  // namespace r1::rewards
