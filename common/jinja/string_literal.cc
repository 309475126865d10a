#include "common/jinja/string_literal.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/jinja/python_text.h"
#include "common/utf8.h"

namespace r1::jinja {
namespace {

absl::Status Refused(absl::string_view escape) {
  return absl::InvalidArgumentError(
      absl::StrCat("string literal: cannot use the escape ", Quoted(escape)));
}

int DigitValue(char c) {
  if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

// \x41, \u0041, \U00000041: exactly `digits` hexadecimal digits from `at` on, or \101: up to three
// octal ones. Moves `at` behind them.
absl::Status AppendNumbered(absl::string_view literal, size_t& at, size_t digits, int base,
                            std::string& value) {
  const size_t begin = at;
  int64_t code_point = 0;
  while (at < literal.size() && at < begin + digits && DigitValue(literal[at]) < base) {
    code_point = code_point * base + DigitValue(literal[at++]);
  }
  const bool complete = base == 8 || at == begin + digits;
  if (!complete || code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) {
    return Refused(literal.substr(begin - 2, at - begin + 2));
  }
  AppendCodePoint(static_cast<int32_t>(code_point), value);
  return absl::OkStatus();
}

// Python decodes such a literal by way of ASCII, where the character is itself an escape whose
// backslash the first one takes.
void AppendEscapedCharacter(int32_t code_point, std::string& value) {
  absl::StrAppendFormat(&value,
                        code_point <= 0xFF     ? "\\x%02x"
                        : code_point <= 0xFFFF ? "\\u%04x"
                                               : "\\U%08x",
                        code_point);
}

}  // namespace

absl::StatusOr<std::string> UnescapeLiteral(absl::string_view literal) {
  constexpr absl::string_view kLetters = "abfnrtv\\'\"", kValues = "\a\b\f\n\r\t\v\\'\"";
  std::string value;
  for (size_t at = 0; at < literal.size();) {
    if (literal[at] != '\\') {
      value += literal[at++];
      continue;
    }
    if (++at == literal.size()) return Refused("\\");
    const char letter = literal[at];
    const size_t known = kLetters.find(letter);
    if (static_cast<unsigned char>(letter) >= 0x80) {
      AppendEscapedCharacter(CodePointAt(literal, at), value);
      at = NextCharacter(literal, at);
    } else if (known != absl::string_view::npos) {
      value += kValues[known];
      ++at;
    } else if (letter == '\n') {  // joins the lines
      ++at;
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      ++at;
      R1_RETURN_IF_ERROR(AppendNumbered(literal, at,
                                        letter == 'x'   ? 2
                                        : letter == 'u' ? 4
                                                        : 8,
                                        16, value));
    } else if (DigitValue(letter) < 8) {
      R1_RETURN_IF_ERROR(AppendNumbered(literal, at, 3, 8, value));
    } else if (letter == 'N') {
      return Refused("\\N");
    } else {  // not an escape: both characters stay
      value += {'\\', letter};
      ++at;
    }
  }
  return value;
}

}  // namespace r1::jinja
