// `format`: 1 when the response has exactly the form <think>…</think> <answer>…</answer> of
// response_format.h and was finished, else 0 with the rule that failed as the reason. The format
// reward of DeepSeek-R1-Zero (2501.12948 §2.2.2). When the prompt opened <think> already, the
// response must not open it again.
//
// With format.partial_credit a finished response that misses the form has 0.25 for each of the four
// tags that occurs exactly once, at most 0.75: the idea of open-r1's tag count reward, without its
// demand for line breaks (tag_count has that).
//
// It looks at tags only: an empty <think></think> scores 1. What is worth thinking is left to the
// accuracy reward; give format a small weight (0.1 beside 0.9), or tags alone are worth having.

#include <algorithm>

#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

constexpr double kCreditPerTag = 0.25;
constexpr double kPartialCreditMax = 0.75;

double PartialCredit(const RewardInput& input) {
  std::array<size_t, 4> counts = CountTags(input.response);
  if (input.think_prefilled) ++counts[0];
  const auto once = std::count(counts.begin(), counts.end(), size_t{1});
  return std::min(kPartialCreditMax, kCreditPerTag * static_cast<double>(once));
}

class FormatReward : public Reward {
 public:
  explicit FormatReward(const v1::RewardConfig& config)
      : partial_credit_(config.format().partial_credit()) {}

  Score ScoreSample(const RewardInput& input) const override {
    const ParsedResponse parsed =
        ParseResponse(input.response, input.finished, input.think_prefilled);
    if (parsed.matches) return {.value = 1, .reason = parsed.reason};
    const bool has_credit = partial_credit_ && input.finished;
    return {.value = has_credit ? PartialCredit(input) : 0, .reason = parsed.reason};
  }

 private:
  const bool partial_credit_;
};

R1_REGISTER(RewardRegistry, "format", MakeWithSettings<FormatReward>);

}  // namespace
}  // namespace r1::rewards
