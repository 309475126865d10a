// TranslateSplitPattern: the expressions of tokenizer.json, written anew for PCRE2. Classes are
// spelled out so that both engines mean the same by them: \s is Unicode's White_Space (PCRE2's
// would add U+180E), and \p{L} has the letters that PCRE2's Unicode data lacks.

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/split_pattern.h"
#include "common/unicode_tables.h"
#include "common/utf8.h"

namespace r1 {
namespace {

constexpr size_t kExpressionBytesMax = 10'000;
constexpr int kDepthMax = 20;
constexpr int kRepeatMax = 1000;

// The inside of a class.
constexpr char kWhiteSpace[] =
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"
    "\\x{205F}\\x{3000}";

std::string Literal(int32_t code_point) { return absl::StrCat("\\x{", absl::Hex(code_point), "}"); }

class Translator {
 public:
  explicit Translator(absl::string_view expression) : whole_(expression), rest_(expression) {}

  absl::StatusOr<std::string> Translate() {
    R1_RETURN_IF_ERROR(Alternatives(0));
    if (!rest_.empty()) return Refused("an unmatched )");
    return std::move(output_);
  }

 private:
  absl::Status Refused(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("regular expression ", Quoted(whole_), ": ",
                                                   what, " at byte ", whole_.size() - rest_.size(),
                                                   ": not supported"));
  }

  // Up to the closing parenthesis or the end.
  absl::Status Alternatives(int depth) {
    if (depth > kDepthMax) return Refused("deep nesting");
    while (!rest_.empty() && rest_[0] != ')') {
      if (absl::ConsumePrefix(&rest_, "|")) {
        output_ += '|';
        literals_.clear();
        continue;
      }
      R1_RETURN_IF_ERROR(Element(depth));
    }
    return absl::OkStatus();
  }

  // One atom and its quantifier.
  absl::Status Element(int depth) {
    bool repeatable = true;
    if (rest_[0] == '(') {
      R1_RETURN_IF_ERROR(Group(depth, repeatable));
    } else if (caseless_) {
      R1_RETURN_IF_ERROR(CaselessLiteral());
    } else if (rest_[0] == '[') {
      R1_RETURN_IF_ERROR(Class());
    } else if (rest_[0] == '\\') {
      R1_ASSIGN_OR_RETURN(const Escape escape, ReadEscape());
      output_ += escape.code_point >= 0
                     ? Literal(escape.code_point)
                     : absl::StrCat(escape.negated ? "[^" : "[", escape.set, "]");
    } else if (absl::string_view("?*+{}.^$]").find(rest_[0]) != absl::string_view::npos) {
      return Refused(Quoted(rest_.substr(0, 1)));
    } else {
      output_ += Literal(ReadCodePoint());
    }
    return Quantifier(repeatable);
  }

  absl::Status Group(int depth, bool& repeatable) {
    const bool was_caseless = caseless_;
    if (absl::ConsumePrefix(&rest_, "(?:")) {
      output_ += "(?:";
    } else if (absl::ConsumePrefix(&rest_, "(?i:")) {
      output_ += "(?i:";
      caseless_ = true;
    } else if (absl::ConsumePrefix(&rest_, "(?!")) {
      output_ += "(?!";
      repeatable = false;
    } else if (absl::ConsumePrefix(&rest_, "(?=")) {
      output_ += "(?=";
      repeatable = false;
    } else {
      return Refused(absl::StrCat("the group ", Quoted(rest_.substr(0, 4))));
    }
    literals_.clear();
    R1_RETURN_IF_ERROR(Alternatives(depth + 1));
    if (!absl::ConsumePrefix(&rest_, ")")) return Refused("an unmatched (");
    literals_.clear();
    output_ += ')';
    caseless_ = was_caseless;
    return absl::OkStatus();
  }

  // Oniguruma also lets a ligature match the letters that it folds to, which PCRE2 does not. No
  // character folds to a sequence of ASCII letters but these.
  absl::Status CaselessLiteral() {
    const auto c = static_cast<unsigned char>(rest_[0]);
    if (absl::ascii_isalpha(c)) {
      literals_ += static_cast<char>(absl::ascii_tolower(c));
      for (const char* folded : {"ff", "fi", "fl", "ss", "st"}) {
        if (absl::EndsWith(literals_, folded)) {
          return Refused(absl::StrCat(Quoted(folded), " inside of (?i:…)"));
        }
      }
    } else if (c >= 0x80 || (absl::ascii_ispunct(c) && c != '\'')) {
      return Refused(absl::StrCat(Quoted(rest_.substr(0, 1)), " inside of (?i:…)"));
    } else {
      literals_ += static_cast<char>(c);
    }
    output_ += Literal(ReadCodePoint());
    return absl::OkStatus();
  }

  absl::Status Quantifier(bool repeatable) {
    if (rest_.empty()) return absl::OkStatus();
    const absl::string_view before = rest_;
    if (rest_[0] == '?' || rest_[0] == '*' || rest_[0] == '+') {
      rest_.remove_prefix(1);
    } else if (rest_[0] == '{') {
      R1_RETURN_IF_ERROR(RepeatCount());
    } else {
      return absl::OkStatus();
    }
    if (!repeatable) return Refused("a repeated look-ahead");
    if (caseless_) return Refused("a quantifier inside of (?i:…)");
    if (!rest_.empty() && absl::string_view("?*+{").find(rest_[0]) != absl::string_view::npos) {
      return Refused("a lazy, possessive or double quantifier");
    }
    absl::StrAppend(&output_, before.substr(0, before.size() - rest_.size()));
    return absl::OkStatus();
  }

  // "{2}", "{2,}" or "{2,5}".
  absl::Status RepeatCount() {
    const size_t end = rest_.find('}');
    if (end == absl::string_view::npos) return Refused("an unmatched {");
    const absl::string_view inside = rest_.substr(1, end - 1);
    const size_t comma = inside.find(',');
    const absl::string_view least_text = inside.substr(0, comma);
    const absl::string_view most_text =
        comma == absl::string_view::npos ? least_text : inside.substr(comma + 1);
    const auto is_count = [](absl::string_view digits, int& value) {
      return !digits.empty() && std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
             absl::SimpleAtoi(digits, &value) && value <= kRepeatMax;
    };
    int least = 0, most = kRepeatMax;
    const bool least_ok = is_count(least_text, least);
    const bool most_ok =
        is_count(most_text, most) || (comma != absl::string_view::npos && most_text.empty());
    if (!least_ok || !most_ok || least > most) {
      return Refused(absl::StrCat("the quantifier ", Quoted(rest_.substr(0, end + 1))));
    }
    rest_.remove_prefix(end + 1);
    return absl::OkStatus();
  }

  // Of a class: characters, ranges, \s and \p{…}.
  absl::Status Class() {
    rest_.remove_prefix(1);
    output_ += absl::ConsumePrefix(&rest_, "^") ? "[^" : "[";
    if (absl::StartsWith(rest_, "]")) return Refused("an empty class");
    while (!absl::ConsumePrefix(&rest_, "]")) {
      R1_ASSIGN_OR_RETURN(const Escape first, ClassItem());
      if (first.code_point < 0) {
        output_ += first.set;
        continue;
      }
      output_ += Literal(first.code_point);
      if (!absl::ConsumePrefix(&rest_, "-")) continue;
      R1_ASSIGN_OR_RETURN(const Escape last, ClassItem());
      if (last.code_point < first.code_point) return Refused("a range that is none");
      absl::StrAppend(&output_, "-", Literal(last.code_point));
    }
    output_ += ']';
    return absl::OkStatus();
  }

  struct Escape {
    int32_t code_point = -1;
    std::string set = {};  // the inside of a class, when it is no single character
    bool negated = false;
  };

  absl::StatusOr<Escape> ClassItem() {
    if (rest_.empty()) return Refused("an unmatched [");
    if (rest_[0] == '\\') {
      R1_ASSIGN_OR_RETURN(Escape escape, ReadEscape());
      if (escape.negated) return Refused("\\S or \\P inside of a class");
      return escape;
    }
    if (rest_[0] == '[' || rest_[0] == '-' || absl::StartsWith(rest_, "&&")) {
      return Refused(absl::StrCat(Quoted(rest_.substr(0, 1)), " inside of a class"));
    }
    return Escape{.code_point = ReadCodePoint()};
  }

  absl::StatusOr<Escape> ReadEscape() {
    if (rest_.size() < 2) return Refused("a lone \\");
    const char kind = rest_[1];
    if (absl::ascii_ispunct(static_cast<unsigned char>(kind))) {
      rest_.remove_prefix(2);
      return Escape{.code_point = kind};
    }
    for (const auto& [letter, code_point] : {std::pair('r', '\r'), {'n', '\n'}, {'t', '\t'}}) {
      if (kind != letter) continue;
      rest_.remove_prefix(2);
      return Escape{.code_point = code_point};
    }
    if (kind == 's' || kind == 'S') {
      rest_.remove_prefix(2);
      return Escape{.set = kWhiteSpace, .negated = kind == 'S'};
    }
    if (kind == 'p' || kind == 'P') {
      for (const char category : {'L', 'M', 'N', 'P', 'S'}) {
        if (!absl::StartsWith(rest_.substr(2), absl::StrCat("{", std::string(1, category), "}"))) {
          continue;
        }
        rest_.remove_prefix(5);
        return Escape{.set = CategorySet(category), .negated = kind == 'P'};
      }
    }
    return Refused(absl::StrCat("the escape ", Quoted(rest_.substr(0, 8))));
  }

  static std::string CategorySet(char category) {
    std::string set = absl::StrCat("\\p{", std::string(1, category), "}");
    for (const CodePointRange& range : AssignedAfterUnicode14(category)) {
      absl::StrAppend(&set, Literal(range.first), "-", Literal(range.last));
    }
    return set;
  }

  // Of valid UTF-8.
  int32_t ReadCodePoint() {
    const auto lead = static_cast<unsigned char>(rest_[0]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    int32_t code_point = length == 1 ? lead : lead & (0x7F >> length);
    for (size_t i = 1; i < length; ++i) code_point = code_point << 6 | (rest_[i] & 0x3F);
    rest_.remove_prefix(length);
    return code_point;
  }

  const absl::string_view whole_;
  absl::string_view rest_;
  std::string output_;
  std::string literals_;  // of a caseless group: the letters in a row so far
  bool caseless_ = false;
};

}  // namespace

absl::StatusOr<std::string> TranslateSplitPattern(absl::string_view expression) {
  if (expression.size() > kExpressionBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a regular expression of ", expression.size(),
                                                   " bytes; expected at most ",
                                                   kExpressionBytesMax));
  }
  if (!IsValidUtf8(expression)) {
    return absl::InvalidArgumentError("a regular expression of invalid UTF-8");
  }
  return Translator(expression).Translate();
}

}  // namespace r1
