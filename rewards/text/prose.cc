#include "rewards/text/prose.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace r1::rewards {
namespace {

// Longest formula between two $: prose with prices has single ones.
constexpr size_t kInlineFormulaBytesMax = 1000;
constexpr size_t kArgumentBytesMax = 1000;
constexpr size_t kNameBytesMax = 40;  // of an environment

bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }

// What ends with a mark of its own. A search for a mark that is nowhere in the rest is made once:
// what is not there now will not be there later.
struct Delimited {
  absl::string_view open;
  absl::string_view close;
  char replacement;
  bool to_the_end;        // when it does not close
  bool has_name = false;  // up to a }, behind the close
  bool is_absent = false;
};

class ProseFilter {
 public:
  explicit ProseFilter(absl::string_view text) : rest_(text) {}

  std::string Filter() {
    prose_.reserve(rest_.size());
    while (!rest_.empty()) {
      if (SkipDelimited() || SkipDollar() || SkipCommand() || SkipAddress()) continue;
      prose_.push_back(rest_.front());
      rest_.remove_prefix(1);
    }
    return std::move(prose_);
  }

 private:
  void Skip(size_t bytes, char replacement) {
    prose_.push_back(replacement);
    rest_.remove_prefix(bytes);
  }

  bool SkipDelimited() {
    for (Delimited& delimited : delimited_) {
      if (delimited.is_absent || !absl::StartsWith(rest_, delimited.open)) continue;
      const size_t end = rest_.find(delimited.close, delimited.open.size());
      if (end == absl::string_view::npos && !delimited.to_the_end) {
        delimited.is_absent = true;
        continue;
      }
      const bool closes = end != absl::string_view::npos;
      Skip(closes ? end + delimited.close.size() : rest_.size(), delimited.replacement);
      const size_t name_end = rest_.substr(0, kNameBytesMax).find('}');
      if (delimited.has_name && name_end != absl::string_view::npos) {
        rest_.remove_prefix(name_end + 1);
      }
      return true;
    }
    return SkipInLine('`', absl::string_view::npos);
  }

  // `code` or $formula$, when the same mark closes it in this line.
  bool SkipInLine(char mark, size_t bytes_max) {
    if (rest_.front() != mark) return false;
    const char ends[] = {mark, '\n'};
    const size_t end = rest_.substr(0, bytes_max).find_first_of(absl::string_view(ends, 2), 1);
    if (end == absl::string_view::npos || rest_[end] != mark) return false;
    Skip(end + 1, ' ');
    return true;
  }

  bool SkipDollar() { return SkipInLine('$', kInlineFormulaBytesMax); }

  // \command, with its arguments unless they are text.
  bool SkipCommand() {
    if (rest_.front() != '\\' || rest_.size() < 2 || !IsLetter(rest_[1])) return false;
    size_t end = 1;
    while (end < rest_.size() && IsLetter(rest_[end])) ++end;
    const absl::string_view name = rest_.substr(1, end - 1);
    Skip(end, ' ');
    if (absl::StartsWith(name, "text") || name == "emph") return true;
    while (!rest_.empty() && rest_.front() == '{') {
      const size_t close = ClosingBrace();
      if (close == absl::string_view::npos) break;
      rest_.remove_prefix(close + 1);
    }
    return true;
  }

  // Of the { at the front.
  size_t ClosingBrace() const {
    const absl::string_view text = rest_.substr(0, kArgumentBytesMax);
    int depth = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '{') ++depth;
      if (text[i] == '}' && --depth == 0) return i;
    }
    return absl::string_view::npos;
  }

  bool SkipAddress() {
    if (!absl::StartsWith(rest_, "https://") && !absl::StartsWith(rest_, "http://")) return false;
    size_t end = 0;
    while (end < rest_.size() && !absl::ascii_isspace(static_cast<unsigned char>(rest_[end]))) {
      ++end;
    }
    Skip(end, ' ');
    return true;
  }

  absl::string_view rest_;
  std::string prose_;
  Delimited delimited_[6] = {
      {"```", "```", '\n', true},  {"~~~", "~~~", '\n', true},
      {"$$", "$$", '\n', false},   {"\\(", "\\)", ' ', false},
      {"\\[", "\\]", '\n', false}, {"\\begin{", "\\end{", '\n', false, true},
  };
};

}  // namespace

std::string ProseOf(absl::string_view text) { return ProseFilter(text).Filter(); }

}  // namespace r1::rewards
