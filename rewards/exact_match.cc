// `exact_match`: 1 when the response has the form of response_format.h and its answer is the gold
// answer, compared as text. The accuracy reward of DeepSeek-R1-Zero (2501.12948 §2.2.2) for answers
// with one canonical spelling, such as the integers of the built-in tasks and of GSM8K.
//
// Both sides are normalised alike: surrounding ASCII white space is dropped, and so are the commas
// of a number in groups of three ("1,234,567" and "-1,234.5", not "1,23" or "(1,234)"). Nothing is
// computed: "018", "18.0" and "$18" are not 18. The working is never looked at, and nothing outside
// of <answer>…</answer> can match. A bare answer (RewardInput::prediction) is compared as it is.
//
// A gold answer that is empty cannot be compared with: the sample is masked.

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

// [+-] 1-3 digits, then one or more groups of a comma and three digits, then perhaps a fraction.
bool HasThousandsCommas(absl::string_view text) {
  size_t at = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  const auto digits = [text, &at] {
    const size_t begin = at;
    while (at < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[at]))) ++at;
    return at - begin;
  };
  const size_t first = digits();
  if (first < 1 || first > 3) return false;
  size_t groups = 0;
  for (; at < text.size() && text[at] == ','; ++groups) {
    ++at;
    if (digits() != 3) return false;
  }
  if (groups == 0) return false;
  if (at == text.size()) return true;
  if (text[at++] != '.') return false;
  return digits() > 0 && at == text.size();
}

std::string Normalized(absl::string_view text) {
  std::string normalized(absl::StripAsciiWhitespace(text));
  if (HasThousandsCommas(normalized)) std::erase(normalized, ',');
  return normalized;
}

class ExactMatchReward : public Reward {
 public:
  Score ScoreSample(const RewardInput& input) const override {
    const std::string gold = Normalized(input.answer);
    if (gold.empty()) return {.reason = "no_gold_answer", .masked = true};
    absl::string_view answer = input.prediction;
    if (answer.empty()) {
      const ParsedResponse parsed =
          ParseResponse(input.response, input.finished, input.think_prefilled);
      if (!parsed.matches) return {.reason = parsed.reason};
      answer = parsed.answer;
    }
    const std::string normalized = Normalized(answer);
    if (normalized.empty()) return {.reason = "empty_answer"};
    const bool is_equal = normalized == gold;
    return {.value = is_equal ? 1.0 : 0.0,
            .reason = is_equal ? "match" : "mismatch",
            .extracted = std::string(answer)};
  }
};

R1_REGISTER(RewardRegistry, "exact_match", MakeWithoutSettings<ExactMatchReward>);

}  // namespace
}  // namespace r1::rewards
