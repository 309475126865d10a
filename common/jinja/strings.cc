#include "common/jinja/strings.h"

#include <utf8proc.h>

#include <algorithm>
#include <iterator>

#include "absl/strings/str_format.h"
#include "common/jinja/python_text.h"

namespace r1::jinja {
namespace {

bool IsLineBreak(int32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

// The pieces around each occurrence of the separator.
std::vector<Text> SplitAt(const Text& text, const std::string& separator, int64_t limit,
                          bool from_right) {
  const absl::string_view bytes = text.bytes();
  std::vector<Text> pieces;
  size_t begin = 0, end = bytes.size();
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    const size_t at =
        from_right ? bytes.substr(0, end).rfind(separator) : bytes.find(separator, begin);
    if (at == absl::string_view::npos) break;
    if (from_right) {
      pieces.push_back(text.Slice(at + separator.size(), end));
      end = at;
    } else {
      pieces.push_back(text.Slice(begin, at));
      begin = at + separator.size();
    }
  }
  pieces.push_back(text.Slice(begin, end));
  if (from_right) std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

size_t SkipSpaces(absl::string_view bytes, size_t at, bool spaces) {
  while (at < bytes.size() && IsSpace(CodePointAt(bytes, at)) == spaces) {
    at = NextCharacter(bytes, at);
  }
  return at;
}

size_t SkipSpacesBack(absl::string_view bytes, size_t end, bool spaces) {
  while (end > 0 && IsSpace(CodePointAt(bytes, PreviousCharacter(bytes, end))) == spaces) {
    end = PreviousCharacter(bytes, end);
  }
  return end;
}

// The words between runs of white space; after `limit` cuts, the rest without the space before it.
std::vector<Text> SplitWords(const Text& text, int64_t limit, bool from_right) {
  const absl::string_view bytes = text.bytes();
  std::vector<Text> words;
  if (from_right) {
    size_t end = SkipSpacesBack(bytes, bytes.size(), true);
    while (end > 0) {
      const bool last = static_cast<int64_t>(words.size()) == limit;
      const size_t begin = last ? 0 : SkipSpacesBack(bytes, end, false);
      words.push_back(text.Slice(begin, end));
      end = SkipSpacesBack(bytes, begin, true);
    }
    std::reverse(words.begin(), words.end());
    return words;
  }
  size_t begin = SkipSpaces(bytes, 0, true);
  while (begin < bytes.size()) {
    const bool last = static_cast<int64_t>(words.size()) == limit;
    const size_t end = last ? bytes.size() : SkipSpaces(bytes, begin, false);
    words.push_back(text.Slice(begin, end));
    begin = SkipSpaces(bytes, end, true);
  }
  return words;
}

struct CodePoints {
  int32_t first;
  int32_t last;
};

// Unconditional upper-case mappings to several characters (Unicode's SpecialCasing.txt), with some
// neighbours.
constexpr CodePoints kLongUpperCase[] = {
    {0xDF, 0xDF},   {0x149, 0x149},   {0x1F0, 0x1F0},   {0x390, 0x390},   {0x3B0, 0x3B0},
    {0x587, 0x587}, {0x1E96, 0x1E9A}, {0x1F50, 0x1FFC}, {0xFB00, 0xFB06}, {0xFB13, 0xFB17},
};
// The capital I with a dot, whose lower case is two characters, and the capital sigma, which has
// another one at the end of a word.
constexpr CodePoints kLongLowerCase[] = {{0x130, 0x130}, {0x3A3, 0x3A3}};

template <typename Exceptions, typename Function>
absl::StatusOr<Text> MapCase(const Text& text, const Exceptions& exceptions, Function function) {
  std::string mapped;
  const absl::string_view bytes = text.bytes();
  for (size_t at = 0; at < bytes.size(); at = NextCharacter(bytes, at)) {
    const int32_t c = CodePointAt(bytes, at);
    if (std::any_of(std::begin(exceptions), std::end(exceptions),
                    [c](CodePoints range) { return range.first <= c && c <= range.last; })) {
      return absl::InvalidArgumentError(
          absl::StrFormat("changing the case of U+%04X is not supported", c));
    }
    AppendCodePoint(function(c), mapped);
  }
  return Text(mapped, text.from_content());
}

}  // namespace

Text Strip(const Text& text, Side side, const std::optional<std::string>& characters) {
  const absl::string_view bytes = text.bytes();
  std::vector<int32_t> stripped;
  for (size_t at = 0; characters.has_value() && at < characters->size();
       at = NextCharacter(*characters, at)) {
    stripped.push_back(CodePointAt(*characters, at));
  }
  const auto strips = [&](int32_t c) {
    return characters.has_value() ? std::find(stripped.begin(), stripped.end(), c) != stripped.end()
                                  : IsSpace(c);
  };
  size_t begin = 0, end = bytes.size();
  while (side != Side::kRight && begin < end && strips(CodePointAt(bytes, begin))) {
    begin = NextCharacter(bytes, begin);
  }
  while (side != Side::kLeft && begin < end &&
         strips(CodePointAt(bytes, PreviousCharacter(bytes, end)))) {
    end = PreviousCharacter(bytes, end);
  }
  return text.Slice(begin, end);
}

std::vector<Text> Split(const Text& text, const std::optional<std::string>& separator,
                        int64_t limit, bool from_right) {
  if (!separator.has_value()) return SplitWords(text, limit, from_right);
  R1_CHECK(!separator->empty());
  return SplitAt(text, *separator, limit, from_right);
}

std::vector<Text> SplitLines(const Text& text, bool keep_ends) {
  const absl::string_view bytes = text.bytes();
  std::vector<Text> lines;
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    size_t next = NextCharacter(bytes, at);
    if (IsLineBreak(CodePointAt(bytes, at))) {
      if (bytes.substr(at, 2) == "\r\n") ++next;
      lines.push_back(text.Slice(begin, keep_ends ? next : at));
      begin = next;
    }
    at = next;
  }
  if (begin < bytes.size()) lines.push_back(text.Slice(begin, bytes.size()));
  return lines;
}

Text Replace(const Text& text, absl::string_view old, const Text& replacement, int64_t limit) {
  const absl::string_view bytes = text.bytes();
  Text result;
  size_t begin = 0;
  for (size_t at = 0; limit != 0; --limit) {
    at = old.empty() ? at : bytes.find(old, at);
    if (at == absl::string_view::npos || at > bytes.size()) break;
    result.Append(text, begin, at);
    result.Append(replacement);
    begin = at + old.size();
    at = !old.empty() ? begin : at < bytes.size() ? NextCharacter(bytes, at) : bytes.size() + 1;
  }
  result.Append(text, begin, bytes.size());
  return result;
}

absl::StatusOr<Text> UpperCase(const Text& text) {
  return MapCase(text, kLongUpperCase, utf8proc_toupper);
}

absl::StatusOr<Text> LowerCase(const Text& text) {
  return MapCase(text, kLongLowerCase, utf8proc_tolower);
}

}  // namespace r1::jinja
