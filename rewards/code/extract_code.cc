#include "rewards/code/extract_code.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace r1::rewards::code {
namespace {

// A run of at least three ` or ~ at the beginning of a line, after at most three spaces.
struct Fence {
  char mark = 0;  // 0: the line is none
  size_t length = 0;
  absl::string_view rest = {};  // what follows it, stripped
};

Fence ParseFence(absl::string_view line) {
  size_t begin = 0;
  while (begin < line.size() && begin < 3 && line[begin] == ' ') ++begin;
  if (begin == line.size() || (line[begin] != '`' && line[begin] != '~')) return {};
  size_t end = begin;
  while (end < line.size() && line[end] == line[begin]) ++end;
  if (end - begin < 3) return {};
  const absl::string_view rest = absl::StripAsciiWhitespace(line.substr(end));
  // `like ```this``` in a line` is no fence.
  if (line[begin] == '`' && absl::StrContains(rest, '`')) return {};
  return {.mark = line[begin], .length = end - begin, .rest = rest};
}

enum class Match { kOther, kUnnamed, kNamed };

Match MatchLanguage(absl::string_view info, Language language) {
  if (info.empty()) return Match::kUnnamed;
  const absl::string_view word = info.substr(0, info.find_first_of(" \t{,:"));
  const auto is = [word](absl::string_view name) { return absl::EqualsIgnoreCase(word, name); };
  const bool is_named = language == Language::kPython
                            ? is("python") || is("python3") || is("py") || is("py3")
                            : is("cpp") || is("c++") || is("cc") || is("cxx") || is("c++17") ||
                                  is("c++20") || is("cpp17") || is("cpp20");
  return is_named ? Match::kNamed : Match::kOther;
}

// The best block so far: a later one wins over an earlier one of the same worth.
class Candidates {
 public:
  void Add(absl::string_view text, absl::string_view info, Language language, bool is_closed) {
    const Match match = MatchLanguage(info, language);
    if (match == Match::kOther) return;
    const int worth = (match == Match::kNamed ? 2 : 0) + (is_closed ? 1 : 0);
    if (worth < worth_) return;
    worth_ = worth;
    text_ = text;
  }
  CodeExtraction Best() const {
    return worth_ < 0 ? CodeExtraction{} : CodeExtraction{.found = true, .text = text_};
  }

 private:
  int worth_ = -1;
  absl::string_view text_;
};

}  // namespace

CodeExtraction ExtractCode(absl::string_view response, bool think_prefilled, Language language) {
  constexpr absl::string_view kOpen = "<think>", kClose = "</think>";
  const size_t close = response.rfind(kClose);
  if (close != absl::string_view::npos) {
    response.remove_prefix(close + kClose.size());
  } else if (think_prefilled || absl::StrContains(response, kOpen)) {
    return {.reason = "unclosed_think"};
  }
  Candidates candidates;
  Fence open;
  size_t block_begin = 0;
  for (size_t at = 0; at < response.size();) {
    const size_t line_end = std::min(response.find('\n', at), response.size());
    const size_t next = std::min(line_end + 1, response.size());
    const Fence fence = ParseFence(response.substr(at, line_end - at));
    if (open.mark == 0 && fence.mark != 0) {
      open = fence;
      block_begin = next;
    } else if (fence.mark == open.mark && fence.mark != 0 && fence.length >= open.length &&
               fence.rest.empty()) {
      candidates.Add(response.substr(block_begin, at - block_begin), open.rest, language, true);
      open = {};
    }
    at = next;
  }
  // An output that was cut, or a fence that was forgotten.
  if (open.mark != 0) candidates.Add(response.substr(block_begin), open.rest, language, false);
  return candidates.Best();
}

}  // namespace r1::rewards::code
