// `multiple_choice`: 1 when the response chooses the letter of the gold answer. The letter is read
// from the final answer as `math` finds it (math/extract.h: the last box, "Answer: B", …), or from
// a bare prediction: "B", "b", "(B)", "B.", "**B**", "\text{B}", "option B", "B) 42", "B: because".
// The usual rule for MMLU and GPQA is a letter after "Answer:"; this reads more spellings of the
// same, and never a letter that merely begins a word.
//
// An answer that names two different letters ("A or B", "A, B") chooses none. A gold answer that is
// no letter of the choices masks the sample.

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "rewards/math/extract.h"
#include "rewards/reward.h"

namespace r1::rewards {
namespace {

constexpr size_t kAnswerBytesMax = 4096;

bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsAlphanumeric(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }

// Takes marks, LaTeX wrappers and the words for a choice off the front.
void SkipDecoration(absl::string_view& text) {
  for (size_t before = 0; before != text.size();) {
    before = text.size();
    text = absl::StripLeadingAsciiWhitespace(text);
    while (!text.empty() && absl::StrContains("([{*_$`\"'", text.substr(0, 1))) {
      text.remove_prefix(1);
    }
    for (const absl::string_view word :
         {"\\textbf{", "\\text{", "\\mathrm{", "\\mathbf{", "\\boxed{", "\\left(", "\\(", "\\["}) {
      absl::ConsumePrefix(&text, word);
    }
    for (const absl::string_view word : {"the ", "option", "choice", "answer", "is ", ": "}) {
      if (absl::StartsWithIgnoreCase(text, word)) text.remove_prefix(word.size());
    }
  }
}

// The letter at the front: upper case, followed by what is no part of a word. A letter that a text
// follows needs a mark between them ("B) 42", "B: because"): "A dog" is a sentence.
std::optional<char> TakeLetter(absl::string_view& text) {
  if (text.empty() || !IsLetter(text[0])) return std::nullopt;
  const char letter = absl::ascii_toupper(static_cast<unsigned char>(text[0]));
  absl::string_view rest = text.substr(1);
  if (!rest.empty() && (IsAlphanumeric(rest[0]) || (rest[0] & 0x80) != 0)) return std::nullopt;
  const size_t spaces = rest.size() - absl::StripLeadingAsciiWhitespace(rest).size();
  rest.remove_prefix(spaces);
  const bool is_sentence = spaces > 0 && !rest.empty() && IsAlphanumeric(rest[0]) &&
                           !absl::StartsWithIgnoreCase(rest, "or ") &&
                           !absl::StartsWithIgnoreCase(rest, "and ");
  if (is_sentence) return std::nullopt;
  text = rest;
  return letter;
}

// Whether what follows a letter names another one: ", C", " or (C)", "/C".
bool NamesAnother(absl::string_view rest, char letter) {
  while (!rest.empty() && absl::StrContains(")]}*_$`\"'", rest.substr(0, 1))) rest.remove_prefix(1);
  rest = absl::StripLeadingAsciiWhitespace(rest);
  bool joined = false;
  for (const absl::string_view word : {",", "/", "&", "or ", "and "}) {
    if (!absl::StartsWithIgnoreCase(rest, word)) continue;
    rest.remove_prefix(word.size());
    rest = absl::StripLeadingAsciiWhitespace(rest);
    joined = true;
  }
  if (!joined) return false;
  SkipDecoration(rest);
  const std::optional<char> next = TakeLetter(rest);
  return next && *next != letter;
}

struct Choice {
  std::optional<char> letter;
  const char* reason = "no_choice";
};

Choice ReadChoice(absl::string_view text, int choices) {
  text = text.substr(0, kAnswerBytesMax);
  SkipDecoration(text);
  const std::optional<char> letter = TakeLetter(text);
  if (!letter) return {};
  if (NamesAnother(text, *letter)) return {.letter = {}, .reason = "several_choices"};
  if (*letter - 'A' >= choices) return {.letter = {}, .reason = "no_such_choice"};
  return {.letter = letter, .reason = "match"};
}

// What follows the thinking, inside <answer> where there is one.
absl::string_view WithoutTags(absl::string_view response) {
  const auto skip_past = [&response](absl::string_view tag) {
    const size_t at = response.rfind(tag);
    if (at != absl::string_view::npos) response.remove_prefix(at + tag.size());
  };
  skip_past("</think>");
  skip_past("<answer>");
  return absl::StripAsciiWhitespace(response.substr(0, response.find("</answer>")));
}

class MultipleChoiceReward : public Reward {
 public:
  explicit MultipleChoiceReward(const v1::RewardConfig& config)
      : choices_(config.multiple_choice().choices()) {}

  Score ScoreSample(const RewardInput& input) const override {
    if (absl::StripAsciiWhitespace(input.answer).empty()) {
      return {.reason = "no_gold_answer", .masked = true};
    }
    const Choice gold = ReadChoice(input.answer, choices_);
    if (!gold.letter) return {.reason = "gold_is_no_choice", .masked = true};
    std::string text(input.prediction);
    if (text.empty()) {
      math::Extraction extraction = math::ExtractAnswer(input.response, input.think_prefilled);
      // A response that is nothing but a choice, "B" or "(B)", has no mark that shows an answer.
      if (!extraction.found && extraction.source == absl::string_view("no_answer")) {
        extraction.text = std::string(WithoutTags(input.response).substr(0, kAnswerBytesMax));
      } else if (!extraction.found) {
        return {.reason = extraction.source};
      }
      text = std::move(extraction.text);
    }
    const Choice choice = ReadChoice(text, choices_);
    text.resize(std::min(text.size(), kAnswerBytesMax));
    const bool is_right = choice.letter && *choice.letter == *gold.letter;
    return {.value = is_right ? 1.0 : 0.0,
            .reason = is_right || !choice.letter ? choice.reason : "mismatch",
            .extracted = std::move(text)};
  }

 private:
  const int choices_;
};

R1_REGISTER(RewardRegistry, "multiple_choice", MakeWithSettings<MultipleChoiceReward>);

}  // namespace
}  // namespace r1::rewards
