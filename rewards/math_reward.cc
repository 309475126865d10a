// `math`: 1 when the final answer of the response is the gold answer, as mathematics: 1/2, 0.5 and
// \frac{1}{2} are one. math/extract.h says where the answer is looked for, math/compare.h what
// counts as the same. The accuracy reward of DeepSeek-R1 (2501.12948 §2.2.2) for open answers.
//
// An answer that cannot be decided scores 0 ("undecided"); a gold answer that cannot be read masks
// the sample.

#include <string>
#include <utility>

#include "rewards/math/compare.h"
#include "rewards/math/extract.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

class MathReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    if (input.answer.empty()) return {.reason = "no_gold_answer", .masked = true};
    math::Extraction extraction{.found = true, .text = std::string(input.prediction)};
    if (input.prediction.empty()) {
      extraction = math::ExtractAnswer(input.response, input.think_prefilled);
    }
    // The gold answer is read in any case: that it cannot be is a fault of the data.
    const math::Comparison comparison =
        math::CompareAnswers(input.answer, extraction.found ? extraction.text : "");
    if (!comparison.gold_is_readable) return {.reason = comparison.reason, .masked = true};
    if (!extraction.found) return {.reason = extraction.source};
    const bool is_equal = comparison.verdict == math::Verdict::kEqual;
    return {.value = is_equal ? 1.0 : 0.0,
            .reason = comparison.reason,
            .extracted = std::move(extraction.text)};
  }
};

R1_REGISTER(RewardRegistry, "math", MakeWithoutSettings<MathReward>);

}  // namespace
}  // namespace r1::rewards
