// `language_consistency`: the share of the thinking's words that are of the target language. The
// reward that DeepSeek-R1 adds to accuracy in its first RL stage, against thoughts that mix
// languages (2501.12948 §2.3.2); the paper does not say how words are told apart, text/language.h
// says how it is done here.
//
// Mathematics, code and addresses are left out (text/prose.h). With fewer than words_min words (8)
// the share says nothing, and the score is 1: a model is not to be punished for a terse thought. So
// a short thought scores 1 in any language; the accuracy reward must see to its being worth
// something.
//
// The target is the row's `language`, else the config's.

#include <string>

#include "common/utf8.h"
#include "rewards/response_format.h"
#include "rewards/reward.h"
#include "rewards/text/language.h"
#include "rewards/text/prose.h"

namespace r1::rewards {
namespace {

class LanguageConsistencyReward : public Reward {
 public:
  explicit LanguageConsistencyReward(const v1::RewardConfig& config)
      : language_(config.language_consistency().language()),
        words_min_(static_cast<size_t>(config.language_consistency().words_min())) {}

  Score ScoreSample(const RewardInput& input) const override {
    const absl::string_view language =
        input.language.empty() ? absl::string_view(language_) : input.language;
    if (!IsKnownLanguage(language)) {
      return ErrorScore("unknown_language",
                        absl::StrCat("language: expected one of those that "
                                     "language_consistency.language may name, found ",
                                     Quoted(language)));
    }
    const LanguageShare share =
        CountLanguage(ProseOf(ThinkingOf(input.response, input.think_prefilled)), language);
    if (share.words < words_min_) return {.value = 1, .reason = "few_words"};
    const double value = static_cast<double>(share.target_words) / static_cast<double>(share.words);
    return {.value = value,
            .reason = share.target_words == share.words ? "consistent"
                      : share.target_words == 0         ? "other_language"
                                                        : "mixed",
            .parts = {{"words", static_cast<double>(share.words)}}};
  }

 private:
  const std::string language_;
  const size_t words_min_;
};

R1_REGISTER(RewardRegistry, "language_consistency", MakeWithSettings<LanguageConsistencyReward>);

}  // namespace
}  // namespace r1::rewards
