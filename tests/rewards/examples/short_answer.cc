// `short_answer`: 1 when the answer has at most four characters.
#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class ShortAnswerReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    const ParsedResponse parsed =
        ParseResponse(input.response, input.finished, input.think_prefilled);
    if (!parsed.matches) return {.reason = parsed.reason};
    if (parsed.answer.size() > 4) return {.reason = "long"};
    return {.value = 1, .reason = "short", .extracted = std::string(parsed.answer)};
  }
};

R1_REGISTER(RewardRegistry, "short_answer", MakeWithoutSettings<ShortAnswerReward>);

}  // namespace
}  // namespace r1::rewards
