// `textbook`: 1 when the response is the gold working, byte for byte, and was finished. For prompts
// in textbook form (Task::TextbookPrompt): it measures the skill that the base model holds before
// it is taught to answer questions with it.

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class TextbookReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    if (input.answer.empty()) return {.reason = "no_gold_answer", .masked = true};
    if (!input.finished) return {.reason = "unfinished"};
    if (input.response == input.answer) return {.value = 1, .reason = "match"};
    if (absl::StartsWith(input.answer, input.response)) return {.reason = "too_short"};
    if (absl::StartsWith(input.response, input.answer)) return {.reason = "too_long"};
    const auto parts = std::mismatch(input.response.begin(), input.response.end(),
                                     input.answer.begin(), input.answer.end());
    const auto line = 1 + std::count(input.response.begin(), parts.first, '\n');
    return {.reason = absl::StrCat("mismatch_in_line_", line)};
  }
};

R1_REGISTER(RewardRegistry, "textbook", MakeWithoutSettings<TextbookReward>);

}  // namespace
}  // namespace r1::rewards
