// `tag_count`: 0.25 for each tag that occurs exactly once together with its line breaks:
//
//   "<think>\n"   "\n</think>\n"   "\n<answer>\n"   "\n</answer>"
//
// open-r1's tag_count_reward (src/open_r1/rewards.py), which shapes a base model towards the form
// line by line. Occurrences are counted from the left and do not overlap, as by Python's str.count.
// Order is not looked at: `format` is the reward for the form itself.
//
// When the prompt opened <think> already, its first tag counts unless the response opens it again.
// DEVIATION: open-r1 knows no such prompts and would never give those samples more than 0.75.

#include <cstddef>

#include "rewards/reward.h"

namespace r1::rewards {
namespace {

constexpr double kCreditPerTag = 0.25;

size_t Occurrences(absl::string_view text, absl::string_view piece) {
  size_t count = 0;
  for (size_t at = text.find(piece); at != absl::string_view::npos;
       at = text.find(piece, at + piece.size())) {
    ++count;
  }
  return count;
}

class TagCountReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    const absl::string_view text = input.response;
    int right = Occurrences(text, "<think>\n") == (input.think_prefilled ? 0 : 1) ? 1 : 0;
    for (const absl::string_view tag : {"\n</think>\n", "\n<answer>\n", "\n</answer>"}) {
      right += Occurrences(text, tag) == 1 ? 1 : 0;
    }
    return {.value = kCreditPerTag * right, .reason = absl::StrCat(right, "_of_4_tags")};
  }
};

R1_REGISTER(RewardRegistry, "tag_count", MakeWithoutSettings<TagCountReward>);

}  // namespace
}  // namespace r1::rewards
