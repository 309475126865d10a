#include "common/jinja/lexer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/jinja/python_text.h"
#include "common/jinja/string_literal.h"
#include "common/utf8.h"

namespace r1::jinja {
namespace {

constexpr size_t kNone = absl::string_view::npos;

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
}
bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// One line break for all kinds of it, and none at the end of the source.
std::string NormalizeNewlines(absl::string_view source) {
  std::string text = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (absl::EndsWith(text, "\n")) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) {
      const size_t tag = FindTag(at_);
      if (tag == kNone) {
        EmitText(source_.substr(at_));
        break;
      }
      R1_RETURN_IF_ERROR(Tag(tag));
    }
    Emit(TokenKind::kEnd);
    return std::move(tokens_);
  }

 private:
  absl::Status Error(absl::string_view what) const {
    const auto line =
        1 + std::count(source_.begin(), source_.begin() + static_cast<long>(at_), '\n');
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
  }

  void Emit(TokenKind kind, std::string text = "") {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<long>(counted_),
                   source_.begin() + static_cast<long>(std::max(at_, counted_)), '\n'));
    counted_ = std::max(at_, counted_);
    tokens_.push_back({.kind = kind, .text = std::move(text), .line = line_});
  }
  void EmitText(absl::string_view text) {
    if (!text.empty()) Emit(TokenKind::kText, std::string(text));
  }

  bool LooksAt(absl::string_view text) const {
    return absl::StartsWith(source_.substr(std::min(at_, source_.size())), text);
  }
  bool Consume(absl::string_view text) {
    if (!LooksAt(text)) return false;
    at_ += text.size();
    return true;
  }
  void SkipSpace() {
    while (at_ < source_.size() && IsSpace(CodePointAt(source_, at_))) {
      at_ = NextCharacter(source_, at_);
    }
  }

  size_t FindTag(size_t from) const {
    for (size_t at = source_.find('{', from); at != kNone; at = source_.find('{', at + 1)) {
      const char next = at + 1 < source_.size() ? source_[at + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return kNone;
  }

  // The text before a tag, without what the tag's sign ('-', '+' or 0) and lstrip_blocks take.
  absl::string_view TextBefore(size_t begin, size_t tag, char sign, bool is_output) const {
    absl::string_view text = source_.substr(begin, tag - begin);
    if (sign == '-') {
      while (!text.empty() && IsSpace(CodePointAt(text, PreviousCharacter(text, text.size())))) {
        text = text.substr(0, PreviousCharacter(text, text.size()));
      }
    } else if (sign != '+' && !is_output) {
      const size_t line = text.rfind('\n') + 1;  // 0 when there is none
      if (line == 0 && !LineStartsAt(begin)) return text;
      size_t at = line;
      while (at < text.size() && IsSpace(CodePointAt(text, at))) at = NextCharacter(text, at);
      if (at == text.size()) text = text.substr(0, line);
    }
    return text;
  }
  bool LineStartsAt(size_t at) const { return at == 0 || source_[at - 1] == '\n'; }

  char Sign() { return Consume("-") ? '-' : Consume("+") ? '+' : '\0'; }

  absl::Status Tag(size_t tag) {
    const size_t begin = at_;
    const char opener = source_[tag + 1];
    at_ = tag;
    const auto emit_text = [&](char sign) {
      EmitText(TextBefore(begin, tag, sign, opener == '{'));
    };
    at_ = tag + 2;
    if (opener == '%') {
      const size_t raw = AfterRawBegin();
      if (raw != kNone) {
        emit_text(Sign());
        at_ = raw;
        return Raw();
      }
    }
    emit_text(Sign());
    if (opener == '#') return Comment();
    Emit(opener == '{' ? TokenKind::kOutputBegin : TokenKind::kStatementBegin);
    return Inside(opener == '{');
  }

  // The place behind "raw %}" when that is what follows "{%", else kNone. Leaves at_ as it is.
  size_t AfterRawBegin() {
    const size_t saved = at_;
    Sign();
    SkipSpace();
    size_t after = kNone;
    if (Consume("raw")) {
      SkipSpace();
      if (Consume("-%}")) {
        SkipSpace();
        after = at_;
      } else if (Consume("%}")) {
        after = at_;
      }
    }
    at_ = saved;
    return after;
  }

  // Text up to {% endraw %}, which strips as any statement does.
  absl::Status Raw() {
    const size_t begin = at_;
    for (size_t tag = source_.find("{%", begin); tag != kNone; tag = source_.find("{%", tag + 1)) {
      at_ = tag + 2;
      const char sign = Sign();
      SkipSpace();
      if (!Consume("endraw")) continue;
      SkipSpace();
      if (!ConsumeEnd("%}", true)) continue;
      EmitText(TextBefore(begin, tag, sign, false));
      return absl::OkStatus();
    }
    at_ = begin;
    return Error("the raw block has no end");
  }

  absl::Status Comment() {
    const size_t end = source_.find("#}", at_);
    if (end == kNone) return Error("the comment has no end");
    const bool signed_end = end > at_ && (source_[end - 1] == '-' || source_[end - 1] == '+');
    at_ = signed_end ? end - 1 : end;
    R1_CHECK(ConsumeEnd("#}", true));
    return absl::OkStatus();
  }

  // The end of a tag with its sign, and what it takes: white space after '-', one line break of
  // trim_blocks after a statement or comment without a sign.
  bool ConsumeEnd(absl::string_view end, bool trims) {
    if (Consume(absl::StrCat("-", end))) {
      SkipSpace();
      return true;
    }
    if (trims && Consume(absl::StrCat("+", end))) return true;
    if (!Consume(end)) return false;
    if (trims) Consume("\n");
    return true;
  }

  // Tokens up to the end of the tag. Inside brackets, its characters are operators.
  absl::Status Inside(bool is_output) {
    std::string open;  // the closing brackets that are awaited
    while (at_ < source_.size()) {
      if (open.empty() && ConsumeEnd(is_output ? "}}" : "%}", !is_output)) {
        Emit(is_output ? TokenKind::kOutputEnd : TokenKind::kStatementEnd);
        return absl::OkStatus();
      }
      const char c = source_[at_];
      if (IsSpace(CodePointAt(source_, at_))) {
        SkipSpace();
      } else if (IsDigit(c)) {
        R1_RETURN_IF_ERROR(Number());
      } else if (IsNameCharacter(c)) {
        const size_t begin = at_;
        while (at_ < source_.size() && IsNameCharacter(source_[at_])) ++at_;
        Emit(TokenKind::kName, std::string(source_.substr(begin, at_ - begin)));
      } else if (c == '\'' || c == '"') {
        R1_RETURN_IF_ERROR(String());
      } else {
        R1_RETURN_IF_ERROR(Operator(open));
      }
    }
    return Error(is_output ? "expected }} before the end of the template"
                           : "expected %} before the end of the template");
  }

  absl::Status Operator(std::string& open) {
    constexpr absl::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (const absl::string_view candidate : kOperators) {
      if (!LooksAt(candidate)) continue;
      const char c = candidate[0];
      if (c == '(' || c == '[' || c == '{') {
        open += c == '(' ? ')' : c == '[' ? ']' : '}';
      } else if (c == ')' || c == ']' || c == '}') {
        if (open.empty() || open.back() != c) return Error(absl::StrCat("unexpected ", candidate));
        open.pop_back();
      }
      at_ += candidate.size();
      Emit(TokenKind::kOperator, std::string(candidate));
      return absl::OkStatus();
    }
    const size_t next = NextCharacter(source_, at_);
    return Error(absl::StrCat("unexpected character ", Quoted(source_.substr(at_, next - at_))));
  }

  absl::Status String() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Error("the string has no end");
    const auto value = UnescapeLiteral(source_.substr(at_ + 1, end - at_ - 1));
    if (!value.ok()) return Error(value.status().message());
    at_ = end + 1;
    Emit(TokenKind::kString, *value);
    return absl::OkStatus();
  }

  // Digits with single '_' between them; false when there are none.
  bool ConsumeDigits(std::string& digits) {
    const size_t begin = at_;
    while (
        at_ < source_.size() &&
        (IsDigit(source_[at_]) || (source_[at_] == '_' && at_ > begin && source_[at_ - 1] != '_' &&
                                   at_ + 1 < source_.size() && IsDigit(source_[at_ + 1])))) {
      if (source_[at_] != '_') digits += source_[at_];
      ++at_;
    }
    return at_ > begin;
  }

  // Decimal integers and floats.
  absl::Status Number() {
    std::string digits;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    ConsumeDigits(digits);
    bool is_float = false;
    if (!after_dot && LooksAt(".") && at_ + 1 < source_.size() && IsDigit(source_[at_ + 1])) {
      is_float = true;
      digits += '.';
      ++at_;
      ConsumeDigits(digits);
    }
    if (const size_t mark = at_; !after_dot && (Consume("e") || Consume("E"))) {
      std::string exponent = "e";
      if (LooksAt("+") || LooksAt("-")) exponent += source_[at_++];
      if (ConsumeDigits(exponent)) {
        is_float = true;
        digits += exponent;
      } else {
        at_ = mark;
      }
    }
    if (at_ < source_.size() && IsNameCharacter(source_[at_])) {
      return Error(
          absl::StrCat("expected a decimal number, found ", digits, source_.substr(at_, 1)));
    }
    Emit(is_float ? TokenKind::kFloat : TokenKind::kInteger, digits);
    Token& token = tokens_.back();
    const bool valid = is_float ? absl::SimpleAtod(digits, &token.number)
                                : digits[0] != '0' || digits.find_first_not_of('0') == kNone;
    if (!valid) return Error(absl::StrCat("cannot use the number ", digits));
    return absl::OkStatus();
  }

  const absl::string_view source_;
  size_t at_ = 0;
  size_t counted_ = 0;  // line breaks before this place are in line_
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  const size_t valid = ValidUtf8Prefix(source);
  if (valid != source.size()) {
    return absl::InvalidArgumentError(absl::StrCat("byte ", valid, ": invalid UTF-8"));
  }
  const std::string normalized = NormalizeNewlines(source);
  return Lexer(normalized).Run();
}

}  // namespace r1::jinja
