#include "rewards/text/language.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <vector>

#include "common/status.h"
#include "common/utf8.h"
#include "rewards/text/language_evidence.h"
#include "rewards/text/letters.h"

namespace r1::rewards {
namespace {

struct LanguageScripts {
  absl::string_view language;
  Script script;
};

constexpr LanguageScripts kScripts[] = {
    {"en", Script::kLatin}, {"de", Script::kLatin},    {"es", Script::kLatin},
    {"fr", Script::kLatin}, {"it", Script::kLatin},    {"nl", Script::kLatin},
    {"pt", Script::kLatin}, {"ru", Script::kCyrillic}, {"ar", Script::kArabic},
    {"el", Script::kGreek}, {"he", Script::kHebrew},   {"hi", Script::kDevanagari},
    {"ja", Script::kKana},  {"ko", Script::kHangul},   {"th", Script::kThai},
    {"zh", Script::kHan},
};

const LanguageScripts* FindOrNull(absl::string_view language) {
  const auto* found =
      std::find_if(std::begin(kScripts), std::end(kScripts),
                   [&](const LanguageScripts& entry) { return entry.language == language; });
  return found == std::end(kScripts) ? nullptr : found;
}

// Words on either side whose evidence counts.
constexpr size_t kNeighbours = 4;

bool EndsSentence(char32_t code) {
  constexpr char32_t kEnds[] = {'.', '!', '?', ';', '\n', 0x3002, 0xFF01, 0xFF1F, 0xFF1B};
  return std::find(std::begin(kEnds), std::end(kEnds), code) != std::end(kEnds);
}

bool IsWrittenWithoutSpaces(Script script) {
  return script == Script::kHan || script == Script::kKana || script == Script::kThai;
}

bool JoinsNames(char32_t code) { return (code >= '0' && code <= '9') || code == '_'; }

class Counter {
 public:
  explicit Counter(const LanguageScripts& target) : target_(target) {
    const auto* found = std::find(kLatinLanguages.begin(), kLatinLanguages.end(), target.language);
    latin_target_ = static_cast<size_t>(std::distance(kLatinLanguages.begin(), found));
    latin_language_ = latin_target_;
  }

  LanguageShare Count(const std::string& prose);

 private:
  // Takes one word off the front, up to the first character that is no letter of its script.
  void TakeWord(absl::string_view& rest, Script script, bool touches_name);
  // The words of the sentence that has ended.
  void CountSentence();
  void CountLatinWords();

  const LanguageScripts& target_;
  // Index in kLatinLanguages; past its end when the target has other letters.
  size_t latin_target_ = 0;
  size_t latin_language_ = 0;  // of the last Latin word
  LanguageShare share_;
  // Of the sentence that is being read.
  std::vector<Evidence> latin_words_;
  size_t han_ = 0;
  size_t kana_ = 0;
};

LanguageShare Counter::Count(const std::string& prose) {
  absl::string_view rest = prose;
  bool touches_name = false;
  while (!rest.empty()) {
    absl::string_view after = rest;
    const char32_t code = TakeCodePoint(after);
    const Script script = ScriptOf(code);
    if (script == Script::kNone || script == Script::kMark) {
      touches_name = JoinsNames(code);
      if (EndsSentence(code)) CountSentence();
      rest = after;
      continue;
    }
    TakeWord(rest, script, touches_name);
    touches_name = false;
  }
  CountSentence();
  return share_;
}

void Counter::TakeWord(absl::string_view& rest, Script script, bool touches_name) {
  const absl::string_view from_word = rest;
  size_t letters = 0;
  while (!rest.empty()) {
    absl::string_view after = rest;
    const Script next = ScriptOf(TakeCodePoint(after));
    if (next != script && next != Script::kMark) break;
    letters += next == script ? 1 : 0;
    rest = after;
  }
  absl::string_view behind = rest;
  const bool is_name = touches_name || (!rest.empty() && JoinsNames(TakeCodePoint(behind)));
  if (script == Script::kHan) {
    han_ += letters;
  } else if (script == Script::kKana) {
    kana_ += letters;
  } else if (script == Script::kLatin) {
    if (is_name || letters < 2) return;
    latin_words_.push_back(EvidenceOf(from_word.substr(0, from_word.size() - rest.size())));
  } else {
    const size_t words = IsWrittenWithoutSpaces(script) ? letters : 1;
    share_.words += words;
    if (script == target_.script) share_.target_words += words;
  }
}

void Counter::CountSentence() {
  share_.words += han_ + kana_;
  if (target_.script == Script::kKana && kana_ > 0) share_.target_words += han_ + kana_;
  if (target_.script == Script::kHan && kana_ == 0) share_.target_words += han_;
  han_ = kana_ = 0;
  CountLatinWords();
}

void Counter::CountLatinWords() {
  share_.words += latin_words_.size();
  if (target_.script == Script::kLatin) {
    const size_t size = latin_words_.size();
    for (size_t i = 0; i < size; ++i) {
      Evidence window = {};
      const size_t end = std::min(size, i + kNeighbours + 1);
      for (size_t k = i - std::min(i, kNeighbours); k < end; ++k) {
        for (size_t l = 0; l < window.size(); ++l) window[l] += latin_words_[k][l];
      }
      const float most = *std::max_element(window.begin(), window.end());
      if (most > 0 && window[latin_target_] == most) {
        latin_language_ = latin_target_;
      } else if (most > 0) {
        latin_language_ = static_cast<size_t>(
            std::distance(window.begin(), std::max_element(window.begin(), window.end())));
      }
      share_.target_words += latin_language_ == latin_target_ ? 1 : 0;
    }
  }
  latin_words_.clear();
}

}  // namespace

bool IsKnownLanguage(absl::string_view language) { return FindOrNull(language) != nullptr; }

LanguageShare CountLanguage(absl::string_view prose, absl::string_view language) {
  const LanguageScripts* target = FindOrNull(language);
  R1_CHECK(target != nullptr);
  return Counter(*target).Count(LowerText(prose));
}

}  // namespace r1::rewards
