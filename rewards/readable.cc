// `readable`: 1 for thinking that people can follow, 0 for one with a block of code in it or with a
// paragraph of more than readable.paragraph_words_max words. R1's rejection sampling leaves out
// thoughts with mixed languages, long paragraphs and code blocks (2501.12948 §2.3.3); the paper
// gives no length, and languages are the reward `language_consistency`.
//
// Words are parted by ASCII white space, paragraphs by empty lines.

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "rewards/response_format.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

constexpr absl::string_view kFences[] = {"```", "~~~"};

size_t CountWords(absl::string_view line) {
  size_t words = 0;
  bool inside = false;
  for (const char c : line) {
    const bool is_space = absl::ascii_isspace(static_cast<unsigned char>(c));
    words += !is_space && !inside ? 1 : 0;
    inside = !is_space;
  }
  return words;
}

class ReadableReward : public Reward {
 public:
  explicit ReadableReward(const v1::RewardConfig& config)
      : words_max_(static_cast<size_t>(config.readable().paragraph_words_max())) {}

  Score ScoreSample(const RewardInput& input) const override {
    size_t words = 0;  // of the paragraph
    const absl::string_view thinking = ThinkingOf(input.response, input.think_prefilled);
    for (const absl::string_view line : absl::StrSplit(thinking, '\n')) {
      const absl::string_view text = absl::StripAsciiWhitespace(line);
      for (const absl::string_view fence : kFences) {
        if (text.substr(0, fence.size()) == fence) return {.reason = "code_block"};
      }
      words = text.empty() ? 0 : words + CountWords(text);
      if (words > words_max_) return {.reason = "long_paragraph"};
    }
    return {.value = 1, .reason = "readable"};
  }

 private:
  const size_t words_max_;
};

R1_REGISTER(RewardRegistry, "readable", MakeWithSettings<ReadableReward>);

}  // namespace
}  // namespace r1::rewards
