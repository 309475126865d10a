#include "rewards/math/extract.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "rewards/math/syntax.h"

namespace r1::rewards::math {
namespace {

constexpr size_t kBoxesOpenMax = kDepthMax;
constexpr size_t kBoxesJoinedMax = 16;
constexpr int kSpanTriesMax = 16;
constexpr absl::string_view kMissing = {};

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

// Thinking and <answer> ---------------------------------------------------------------------------

// What follows the thinking; false when it does not close.
bool SkipThinking(bool think_prefilled, absl::string_view& text) {
  constexpr absl::string_view kOpen = "<think>", kClose = "</think>";
  const size_t close = text.rfind(kClose);
  const size_t open = text.rfind(kOpen);
  if (close == absl::string_view::npos) return open == absl::string_view::npos && !think_prefilled;
  if (open != absl::string_view::npos && open > close) return false;
  text.remove_prefix(close + kClose.size());
  return true;
}

absl::string_view InsideAnswerTag(absl::string_view text) {
  constexpr absl::string_view kOpen = "<answer>", kClose = "</answer>";
  const size_t open = text.rfind(kOpen);
  if (open == absl::string_view::npos) return text;
  text.remove_prefix(open + kOpen.size());
  return text.substr(0, text.find(kClose));
}

// Boxes -------------------------------------------------------------------------------------------

struct Box {
  size_t begin, end;  // with the command
  size_t content_begin, content_end;
};

class BoxFinder {
 public:
  explicit BoxFinder(absl::string_view text) : text_(text) {}

  // The contents of the last run of boxes.
  std::string Find() {
    for (size_t at = 0; at < text_.size();) {
      switch (text_[at]) {
        case '\\':
          at = OpenBox(at);
          break;
        case '{':
          ++depth_;
          ++at;
          break;
        case '}':
          CloseBrace(++at);
          break;
        default:
          ++at;
      }
    }
    std::vector<absl::string_view> contents;
    for (const Box& box : run_) {
      const absl::string_view content = absl::StripAsciiWhitespace(
          text_.substr(box.content_begin, box.content_end - box.content_begin));
      const bool repeats = std::find(contents.begin(), contents.end(), content) != contents.end();
      if (!content.empty() && !repeats) contents.push_back(content);
    }
    return absl::StrJoin(contents, ", ");
  }

 private:
  struct OpenedBox {
    size_t begin, content_begin;
    int64_t depth;
  };

  // At a backslash; returns where to go on.
  size_t OpenBox(size_t at) {
    size_t length = 0;
    const absl::string_view rest = text_.substr(at);
    if (absl::StartsWith(rest, "\\boxed")) length = 6;
    if (absl::StartsWith(rest, "\\fbox")) length = 5;
    if (length == 0) return at + 2;  // \{ and \\ open nothing
    size_t next = at + length;
    while (next < text_.size() && (text_[next] == ' ' || text_[next] == '\n')) ++next;
    if (next < text_.size() && text_[next] == '{') {
      if (opened_.size() < kBoxesOpenMax) opened_.push_back({at, next + 1, depth_});
      ++depth_;
      return next + 1;
    }
    size_t end = next;
    while (end < text_.size() && !IsSpace(text_[end]) && text_[end] != '$' &&
           !absl::StartsWith(text_.substr(end), "\\)") && text_[end] != ',') {
      ++end;
    }
    // A sentence may end here.
    size_t content_end = end;
    if (content_end > next && text_[content_end - 1] == '.') --content_end;
    if (content_end > next) Close({at, end, next, content_end});
    return std::max(end, at + length);
  }

  void CloseBrace(size_t at) {
    --depth_;
    if (opened_.empty() || opened_.back().depth < depth_) return;
    const OpenedBox box = opened_.back();
    opened_.pop_back();
    if (box.depth == depth_) Close({box.begin, at, box.content_begin, at - 1});
  }

  void Close(const Box& box) {
    while (!run_.empty() && run_.back().begin >= box.begin) run_.pop_back();  // boxes inside
    if (!run_.empty() && !IsJoint(text_.substr(run_.back().end, box.begin - run_.back().end))) {
      run_.clear();
    }
    if (run_.size() < kBoxesJoinedMax) run_.push_back(box);
  }

  // Whether nothing but a comma or a word of joining stands between two boxes.
  static bool IsJoint(absl::string_view between) {
    if (between.size() > 24) return false;
    bool has_joint = false;
    while (!between.empty()) {
      const absl::string_view before = between;
      for (const absl::string_view filler : {" ", "\n", "$", "\\)", "\\(", "\\text", "{", "}"}) {
        absl::ConsumePrefix(&between, filler);
      }
      for (const absl::string_view joint : {",", "and", "or", "、", "和", "或"}) {
        has_joint = absl::ConsumePrefix(&between, joint) || has_joint;
      }
      if (between == before) return false;
    }
    return has_joint;
  }

  absl::string_view text_;
  int64_t depth_ = 0;
  std::vector<OpenedBox> opened_;
  std::vector<Box> run_;
};

// LaTeX spans and numbers -------------------------------------------------------------------------

// Whether a text between two dollar signs is prose between two prices.
bool IsProse(absl::string_view text) {
  if (absl::StrContains(text, "\n\n") || absl::StrContains(text, ". ")) return true;
  const auto letters_at = [text](size_t at) {
    const size_t begin = at;
    while (at < text.size() && IsLetter(text[at])) ++at;
    return at - begin;
  };
  int words = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\') {
      const size_t length = letters_at(at + 1);
      const absl::string_view command = text.substr(at + 1, length);
      at += length;
      // The words of \text{…} are none of ours.
      if (command == "text" || command == "mbox") at = std::min(text.size(), text.find('}', at));
    } else if (const size_t length = letters_at(at); length >= 2) {
      ++words;
      at += length - 1;
    }
  }
  return words >= 3;
}

struct Span {
  size_t begin = absl::string_view::npos, end = 0;  // with the marks
  absl::string_view content = kMissing;
  bool found() const { return begin != absl::string_view::npos; }
};

// The last span between `open` and `close`.
Span LastDelimited(absl::string_view text, absl::string_view open, absl::string_view close) {
  const size_t end = text.rfind(close);
  if (end == absl::string_view::npos || end == 0) return {};
  const size_t begin = text.rfind(open, end - 1);
  if (begin == absl::string_view::npos || begin + open.size() > end) return {};
  const absl::string_view content =
      absl::StripAsciiWhitespace(text.substr(begin + open.size(), end - begin - open.size()));
  if (content.empty()) return {};
  return {begin, end + close.size(), content};
}

Span LastDollarSpan(absl::string_view text) {
  const auto previous = [text](size_t before) {
    size_t at = before == 0 ? absl::string_view::npos : text.rfind('$', before - 1);
    while (at != absl::string_view::npos && at > 0 && text[at - 1] == '\\') {
      at = text.rfind('$', at - 1);
    }
    return at;
  };
  size_t end = previous(text.size());
  for (int tries = 0; tries < kSpanTriesMax && end != absl::string_view::npos; ++tries) {
    const size_t begin = previous(end);
    if (begin == absl::string_view::npos) return {};
    const absl::string_view content =
        absl::StripAsciiWhitespace(text.substr(begin + 1, end - begin - 1));
    if (!content.empty() && content.size() <= kAnswerBytesMax && !IsProse(content)) {
      return {begin, end + 1, content};
    }
    end = begin;
  }
  return {};
}

Span LastSpan(absl::string_view text) {
  Span last = LastDollarSpan(text);
  for (const auto& [open, close] : {std::pair("\\(", "\\)"), std::pair("\\[", "\\]")}) {
    const Span span = LastDelimited(text, open, close);
    if (span.found() && (!last.found() || span.end > last.end)) last = span;
  }
  return last;
}

Span LastNumber(absl::string_view text) {
  size_t end = text.size();
  while (end > 0 && !IsDigit(text[end - 1])) --end;
  if (end == 0) return {};
  size_t begin = end;
  const auto in_number = [&](size_t at) {
    if (IsDigit(text[at])) return true;
    const bool is_inner = at > 0 && at + 1 < text.size() && IsDigit(text[at - 1]);
    return (is_inner && absl::StrContains(",./", text.substr(at, 1))) ||
           (text[at] == '.' && at + 1 < end);
  };
  while (begin > 0 && in_number(begin - 1)) --begin;
  if (begin > 0 && text[begin - 1] == '-' && (begin == 1 || !IsDigit(text[begin - 2]))) --begin;
  if (end < text.size() && text[end] == '%') ++end;
  return {begin, end, text.substr(begin, end - begin)};
}

// Phrases -----------------------------------------------------------------------------------------

bool StartsWithWord(absl::string_view text, absl::string_view lower) {
  return text.size() >= lower.size() && absl::EqualsIgnoreCase(text.substr(0, lower.size()), lower);
}

// Skips spaces, asterisks and the like.
void SkipDecoration(absl::string_view& text) {
  while (!text.empty() && absl::StrContains(" \t*_", text.substr(0, 1))) text.remove_prefix(1);
}

// After "answer": what is announced, or nothing when "answer" was only mentioned.
bool TakeAnnouncement(absl::string_view& text) {
  SkipDecoration(text);
  bool announced = false;
  for (const absl::string_view word : {"is", ":", "=", "：", "是", "为"}) {
    if (!StartsWithWord(text, word)) continue;
    text.remove_prefix(word.size());
    announced = true;
    SkipDecoration(text);
  }
  return announced;
}

// Words and marks of the sentence up to its end. A line that is empty leads to the next one.
absl::string_view FirstSentence(absl::string_view text) {
  text = absl::StripLeadingAsciiWhitespace(text);
  size_t end = 0;
  for (; end < text.size() && text[end] != '\n'; ++end) {
    const bool stops = text[end] == '.' && (end + 1 == text.size() || IsSpace(text[end + 1]));
    const bool is_abbreviation =  // p.m.
        end >= 2 && text[end - 2] == '.' && IsLetter(text[end - 1]);
    if ((stops && !is_abbreviation) || absl::StartsWith(text.substr(end), "。")) break;
  }
  return text.substr(0, end);
}

// The spans of one sentence, joined where only "and", "or" or a comma stands between them.
std::string SpansOf(absl::string_view sentence) {
  std::vector<absl::string_view> contents;
  while (contents.size() < kBoxesJoinedMax) {
    size_t open = sentence.size(), mark = 0;
    absl::string_view close;
    for (const auto& [begin, end] : {std::pair("$$", "$$"), std::pair("$", "$"),
                                     std::pair("\\(", "\\)"), std::pair("\\[", "\\]")}) {
      const size_t at = sentence.find(begin);
      if (at >= open || (at > 0 && at != absl::string_view::npos && sentence[at - 1] == '\\')) {
        continue;
      }
      open = at;
      mark = absl::string_view(begin).size();
      close = end;
    }
    if (mark == 0) break;
    if (!contents.empty()) {
      const absl::string_view between = absl::StripAsciiWhitespace(sentence.substr(0, open));
      if (between != "," && between != "and" && between != "or" && between != ", and") break;
    }
    size_t end = sentence.find(close, open + mark);
    while (end != absl::string_view::npos && close == "$" && sentence[end - 1] == '\\') {
      end = sentence.find(close, end + 1);
    }
    if (end == absl::string_view::npos) break;
    const absl::string_view content = sentence.substr(open + mark, end - open - mark);
    if (IsProse(content)) break;
    contents.push_back(content);
    sentence.remove_prefix(end + close.size());
  }
  return absl::StrJoin(contents, ", ");
}

std::string AnswerOfSentence(absl::string_view text) {
  absl::string_view sentence = FirstSentence(text);
  const std::string spans = SpansOf(sentence);
  if (!spans.empty()) return spans;
  sentence = absl::StripAsciiWhitespace(sentence);
  while (absl::ConsumeSuffix(&sentence, "*") || absl::ConsumePrefix(&sentence, "*")) {
  }
  int words = 0;
  for (size_t i = 1; i < sentence.size(); ++i) {
    if (sentence[i] == ' ' && IsLetter(sentence[i - 1])) ++words;
  }
  const Span number = LastNumber(sentence);
  const bool begins_with_word = !sentence.empty() && IsLetter(sentence[0]);
  if (begins_with_word && words >= 2 && number.found()) return std::string(number.content);
  return std::string(sentence);
}

// Where the announcements end: the last "final answer", and the last of any kind.
struct Phrases {
  size_t final_answer = absl::string_view::npos;
  size_t any = absl::string_view::npos;
};

Phrases FindPhrases(absl::string_view text) {
  Phrases phrases;
  const auto offset_of = [text](absl::string_view rest) { return text.size() - rest.size(); };
  for (size_t at = 0; at + 3 < text.size(); ++at) {
    const char c = text[at];
    if (c != 'a' && c != 'A' && c != '#' && c != '\xE7' && c != '\xE6') continue;
    absl::string_view rest = text.substr(at);
    if (StartsWithWord(rest, "answer")) {
      rest.remove_prefix(6);
      if (!TakeAnnouncement(rest)) continue;
      phrases.any = offset_of(rest);
      const bool is_final = at >= 6 && absl::EqualsIgnoreCase(text.substr(at - 6, 6), "final ");
      if (is_final) phrases.final_answer = phrases.any;
    } else if (absl::ConsumePrefix(&rest, "####") || absl::ConsumePrefix(&rest, "故选") ||
               absl::ConsumePrefix(&rest, "所以")) {
      TakeAnnouncement(rest);
      phrases.any = offset_of(rest);
    } else if (absl::ConsumePrefix(&rest, "答案")) {
      if (TakeAnnouncement(rest)) phrases.any = offset_of(rest);
    }
  }
  return phrases;
}

// What the last ```output block printed.
std::string LastOutput(absl::string_view text) {
  constexpr absl::string_view kOpen = "```output";
  const size_t open = text.rfind(kOpen);
  if (open == absl::string_view::npos) return "";
  text.remove_prefix(open + kOpen.size());
  const size_t close = text.find("```");
  if (close == absl::string_view::npos) return "";
  return std::string(absl::StripAsciiWhitespace(text.substr(0, close)));
}

}  // namespace

Extraction ExtractAnswer(absl::string_view response, bool think_prefilled) {
  if (!SkipThinking(think_prefilled, response)) return {.source = "unclosed_think"};
  const absl::string_view text = InsideAnswerTag(response);
  std::string answer = BoxFinder(text).Find();
  if (!answer.empty()) return {.found = true, .text = std::move(answer), .source = "box"};
  const Phrases phrases = FindPhrases(text);
  for (const size_t at : {phrases.final_answer, phrases.any}) {
    if (at == absl::string_view::npos) continue;
    answer = AnswerOfSentence(text.substr(at));
    if (!answer.empty()) return {.found = true, .text = std::move(answer), .source = "phrase"};
  }
  answer = LastOutput(text);
  if (!answer.empty()) return {.found = true, .text = std::move(answer), .source = "output"};
  const Span span = LastSpan(text), number = LastNumber(text);
  const bool prefers_span = span.found() && (!number.found() || span.end >= number.end);
  if (prefers_span) {
    return {.found = true, .text = std::string(span.content), .source = "span"};
  }
  if (!number.found()) return {};
  return {.found = true, .text = std::string(number.content), .source = "number"};
}

}  // namespace r1::rewards::math
