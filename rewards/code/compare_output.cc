#include "rewards/code/compare_output.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace r1::rewards::code {
namespace {

// Takes the next line off the front of `text`.
absl::string_view TakeLine(absl::string_view& text) {
  const size_t end = std::min(text.find('\n'), text.size());
  const absl::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return absl::StripTrailingAsciiWhitespace(line);
}

bool IsInteger(absl::string_view word) {
  if (!word.empty() && (word[0] == '-' || word[0] == '+')) word.remove_prefix(1);
  return !word.empty() && std::all_of(word.begin(), word.end(),
                                      [](unsigned char c) { return absl::ascii_isdigit(c); });
}

bool EqualWords(absl::string_view found, absl::string_view expected, double tolerance) {
  if (found == expected) return true;
  if (IsInteger(found) && IsInteger(expected)) return false;
  double a = 0, b = 0;
  if (!absl::SimpleAtod(found, &a) || !absl::SimpleAtod(expected, &b)) return false;
  return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b));
}

bool EqualLines(absl::string_view found, absl::string_view expected, double tolerance) {
  if (found == expected) return true;
  if (tolerance == 0) return false;
  const std::vector<absl::string_view> a =
      absl::StrSplit(found, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  const std::vector<absl::string_view> b =
      absl::StrSplit(expected, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [tolerance](absl::string_view x, absl::string_view y) {
                      return EqualWords(x, y, tolerance);
                    });
}

}  // namespace

bool EqualOutputs(absl::string_view found, absl::string_view expected, double tolerance) {
  found = absl::StripTrailingAsciiWhitespace(found);
  expected = absl::StripTrailingAsciiWhitespace(expected);
  while (!found.empty() || !expected.empty()) {
    if (!EqualLines(TakeLine(found), TakeLine(expected), tolerance)) return false;
  }
  return true;
}

}  // namespace r1::rewards::code
