// Answer text to tokens: LaTeX, plain text and Unicode mathematics alike. Spacing, sizes and fonts
// disappear here; numbers keep their digits, so that what is exact stays exact.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "rewards/math/syntax.h"

namespace r1::rewards::math {

enum class TokenKind : uint8_t {
  kEnd,
  kNumber,    // text: digits, separators and a point; repeat: digits that repeat
  kSymbol,    // text: one letter, or a Greek name
  kConstant,  // id: Constant
  kFunction,  // id: Function
  kText,      // text: words
  kFraction,  // \frac
  kBinomial,  // \binom
  kBegin,     // \begin{matrix}; other environments fail
  kFinish,    // \end{…}
  kOperator,  // op
};

// Operator characters are those of the text where there is one; the others:
namespace op {
inline constexpr char kSetOpen = 'S', kSetClose = 'T';  // \{ \}; { and } group
inline constexpr char kPlusMinus = 'p', kMinusPlus = 'm', kUnion = 'u', kDegree = 'd';
inline constexpr char kAnd = 'a', kRowBreak = 'r', kOverline = 'o', kSuchThat = 's';
inline constexpr char kFloorOpen = 'f', kFloorClose = 'F', kCeilingOpen = 'c', kCeilingClose = 'C';
inline constexpr char kArrow = 'w';  // \to, \implies: what follows is the result
inline constexpr char kUnknown = '?';
}  // namespace op

struct Token {
  TokenKind kind = TokenKind::kEnd;
  char op = 0;
  uint8_t id = 0;
  bool space_before = false;
  absl::string_view text = {};
  absl::string_view repeat = {};
};

struct Tokens {
  std::string source;         // normalised text that the tokens point into
  std::vector<Token> tokens;  // ends with kEnd
};

// Everything but ASCII replaced by LaTeX where it has a meaning in mathematics. Invalid UTF-8 is
// kept as it is: no token begins with it.
std::string UnicodeToLatex(absl::string_view text);

// `text` is at most kAnswerBytesMax long. Always ends; what is not understood is op::kUnknown.
void Tokenize(absl::string_view text, Tokens& tokens);

// Words for a comparison as text: letters, digits and ":" in lower case, without the commands
// around them.
std::string PlainText(absl::string_view text);

}  // namespace r1::rewards::math
