// `numeral_consistency`: the share of the thinking's numerals that are in the target script, digits
// or the letters a to j, for the built-in task "chain_bilingual" (common/tasks/chain.cc), whose
// base model mixes the two. It is DeepSeek-R1's language consistency (2501.12948 §2.3.2) for a
// language that has numerals only, and so the mixing that R1-Zero suffers from can be measured, and
// cured, in miniature.
//
// A numeral is a run of digits and letters a to j; one that has both is in no script. Thinking
// without a numeral is in no language: the score is 0, or guessing would be the easiest way to 1.

#include <string>

#include "absl/strings/ascii.h"
#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

bool IsLetter(char c) { return c >= 'a' && c <= 'j'; }

class NumeralConsistencyReward : public Reward {
 public:
  explicit NumeralConsistencyReward(const v1::RewardConfig& config)
      : letters_wanted_(config.numeral_consistency().script() == "letters") {}

  Score ScoreSample(const RewardInput& input) const override {
    const absl::string_view text = ThinkingOf(input.response, input.think_prefilled);
    size_t numerals = 0;
    size_t wanted = 0;
    for (size_t at = 0; at < text.size();) {
      size_t digits = 0;
      size_t letters = 0;
      for (; at < text.size(); ++at) {
        if (absl::ascii_isdigit(static_cast<unsigned char>(text[at]))) {
          ++digits;
        } else if (IsLetter(text[at])) {
          ++letters;
        } else {
          break;
        }
      }
      if (digits + letters == 0) {
        ++at;
        continue;
      }
      ++numerals;
      wanted += (letters_wanted_ ? digits : letters) == 0 ? 1 : 0;
    }
    if (numerals == 0) return {.reason = "no_numerals"};
    return {.value = static_cast<double>(wanted) / static_cast<double>(numerals),
            .reason = wanted == numerals ? "consistent"
                      : wanted == 0      ? "other_script"
                                         : "mixed"};
  }

 private:
  const bool letters_wanted_;
};

R1_REGISTER(RewardRegistry, "numeral_consistency", MakeWithSettings<NumeralConsistencyReward>);

}  // namespace
}  // namespace r1::rewards
