#include "rewards/math/lexer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "rewards/math/commands.h"
#include "rewards/math/units.h"

namespace r1::rewards::math {
namespace {

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsLetter(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }
bool IsSpace(char c) { return absl::ascii_isspace(static_cast<unsigned char>(c)); }

// Marks words that stood outside of \text{…}.
constexpr uint8_t kPlainWord = 1;

class Lexer {
 public:
  Lexer(absl::string_view text, std::vector<Token>& tokens) : text_(text), tokens_(tokens) {}

  void Run() {
    LexAll();
    Push({});
  }

 private:
  void LexAll() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (IsSpace(c) || c == '~' || c == '$') {
        space_ = true;
        ++at_;
      } else if (IsDigit(c) || (c == '.' && IsDigit(Peek(1)))) {
        LexNumber();
      } else if (IsLetter(c)) {
        LexLetters();
      } else if (c == '\\') {
        LexBackslash();
      } else {
        LexCharacter(c);
      }
    }
  }

  // From the command to the end of its group, as it stands in the source.
  static absl::string_view WithCommand(absl::string_view name, absl::string_view group) {
    return {name.data(), static_cast<size_t>(group.data() + group.size() - name.data())};
  }

  char Peek(size_t ahead) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void Push(Token token) {
    token.space_before = space_;
    space_ = false;
    tokens_.push_back(token);
  }
  void PushOperator(char op) {
    if (op == '(' || op == '[' || op == op::kSetOpen) ++brackets_;
    if (op == ')' || op == ']' || op == op::kSetClose) --brackets_;
    Push({.kind = TokenKind::kOperator, .op = op});
  }

  size_t DigitsAt(size_t at) const {
    size_t end = at;
    while (end < text_.size() && IsDigit(text_[end])) ++end;
    return end - at;
  }

  // Length of a separator of groups of three at `at`, else 0: ",\!", "{,}", "\,", or a plain comma
  // outside of brackets, where a comma would part the items of a list.
  size_t SeparatorAt(size_t at, bool& is_plain) const {
    const absl::string_view rest = text_.substr(at);
    is_plain = false;
    size_t length = 0;
    if (absl::StartsWith(rest, "{,}")) length = 3;
    if (absl::StartsWith(rest, "\\,")) length = 2;
    if (absl::StartsWith(rest, ",\\!")) length = 3;
    // "1 000 000": two numbers side by side mean nothing else.
    if (absl::StartsWith(rest, " ") && DigitsAt(at + 1) == 3) return 1;
    if (length > 0) {
      while (at + length < text_.size() && IsSpace(text_[at + length])) ++length;
      return length;
    }
    is_plain = absl::StartsWith(rest, ",") && brackets_ <= 0;
    return is_plain ? 1 : 0;
  }

  // End of the integer part that begins at at_.
  size_t IntegerEnd() const {
    const size_t first = DigitsAt(at_);
    size_t end = at_ + first;
    if (first > 3 || first == 0 || (text_[at_] == '0' && first == 1)) return end;
    const size_t first_end = end;
    for (bool is_plain = false;;) {
      const size_t separator = SeparatorAt(end, is_plain);
      if (separator == 0) return end;
      if (DigitsAt(end + separator) == 3) {
        end += separator + 3;
        continue;
      }
      // "100,200,3" is a list.
      return is_plain && DigitsAt(end + separator) > 0 ? first_end : end;
    }
  }

  void LexNumber() {
    Token token{.kind = TokenKind::kNumber};
    const size_t begin = at_;
    size_t end = IntegerEnd();
    bool has_point = false;
    if (end < text_.size() && text_[end] == '.') {
      has_point = true;
      end += 1 + DigitsAt(end + 1);
    }
    token.text = text_.substr(begin, end - begin);
    if (has_point) {
      for (const absl::string_view opening : {"\\overline{", "\\bar{", "\\overline ", "("}) {
        const absl::string_view rest = text_.substr(end);
        if (!absl::StartsWith(rest, opening)) continue;
        // 0.(6) repeats; 0.5(6) is a product.
        if (opening == "(" && text_[end - 1] != '.') continue;
        const size_t digits = DigitsAt(end + opening.size());
        const size_t close = end + opening.size() + digits;
        const bool has_close = opening.back() != ' ';
        const char wanted = opening.back() == '(' ? ')' : '}';
        if (digits == 0 || (has_close && (close >= text_.size() || text_[close] != wanted)))
          continue;
        token.repeat = text_.substr(end + opening.size(), digits);
        end = close + (has_close ? 1 : 0);
        break;
      }
    }
    if (token.repeat.empty()) end += ExponentLength(end, has_point);
    token.text = token.repeat.empty() ? text_.substr(begin, end - begin) : token.text;
    at_ = end;
    Push(token);
  }

  // "1.5e-3", "1e10" and "1e-05"; "2e-3" is 2e - 3.
  size_t ExponentLength(size_t at, bool has_point) const {
    if (at + 1 >= text_.size() || (text_[at] != 'e' && text_[at] != 'E')) return 0;
    const bool has_sign = text_[at + 1] == '+' || text_[at + 1] == '-';
    const size_t digits = DigitsAt(at + 1 + (has_sign ? 1 : 0));
    if (digits == 0 || (has_sign && !has_point && digits < 2)) return 0;
    return 1 + (has_sign ? 1 : 0) + digits;
  }

  void PushNamed(const Command& command) {
    if (command.action == Action::kOperator) return PushOperator(command.op);
    Push({.kind = command.action == Action::kFunction ? TokenKind::kFunction : TokenKind::kConstant,
          .id = command.id});
  }

  void PushLetter(absl::string_view letter) {
    if (letter == "e" || letter == "i") {
      const Constant constant = letter == "e" ? Constant::kE : Constant::kI;
      Push({.kind = TokenKind::kConstant, .id = static_cast<uint8_t>(constant), .text = letter});
    } else {
      Push({.kind = TokenKind::kSymbol, .text = letter});
    }
  }

  bool IsAfterValue() const {
    if (tokens_.empty()) return false;
    const Token& last = tokens_.back();
    return last.kind == TokenKind::kNumber ||
           (last.kind == TokenKind::kOperator && (last.op == '}' || last.op == ')'));
  }

  // Letters without a command: a name that is known, a unit after a value, a word, or a product.
  void LexLetters() {
    size_t end = at_;
    while (end < text_.size() && IsLetter(text_[end])) ++end;
    const absl::string_view run = text_.substr(at_, end - at_);
    at_ = end;
    const auto named = NamedCommands().find(run);
    if (named != NamedCommands().end()) return PushNamed(named->second);
    if (run == "U" && IsBetweenIntervals()) return PushOperator(op::kUnion);
    static constexpr absl::string_view kShortWords[] = {"is", "the", "are", "per", "of",
                                                        "no", "yes", "odd", "for", "not"};
    const bool is_short_word =
        std::find(std::begin(kShortWords), std::end(kShortWords), run) != std::end(kShortWords);
    // abcd is a product, word is a word.
    const bool is_word = run.size() >= 4 && !std::is_sorted(run.begin(), run.end());
    // Among words, every run of letters is one.
    const bool follows_word = !tokens_.empty() && tokens_.back().kind == TokenKind::kText &&
                              tokens_.back().id == kPlainWord;
    if (is_word || is_short_word || follows_word || (IsAfterValue() && IsUnitWord(run))) {
      return Push({.kind = TokenKind::kText, .id = kPlainWord, .text = run});
    }
    for (size_t i = 0; i < run.size(); ++i) PushLetter(run.substr(i, 1));
  }

  bool IsBetweenIntervals() const {
    if (tokens_.empty() || tokens_.back().kind != TokenKind::kOperator) return false;
    const char last = tokens_.back().op;
    size_t next = at_;
    while (next < text_.size() && (IsSpace(text_[next]) || text_[next] == '\\')) ++next;
    return (last == ')' || last == ']') && next < text_.size() &&
           (text_[next] == '(' || text_[next] == '[');
  }

  // The braces at `at_` and what is in them; false when they do not close.
  bool TakeGroup(absl::string_view& group) {
    size_t at = at_;
    while (at < text_.size() && IsSpace(text_[at])) ++at;
    if (at >= text_.size() || text_[at] != '{') return false;
    int depth = 0;
    for (size_t end = at; end < text_.size(); ++end) {
      if (text_[end] == '{') ++depth;
      if (text_[end] != '}' || --depth > 0) continue;
      group = text_.substr(at + 1, end - at - 1);
      at_ = end + 1;
      return true;
    }
    return false;
  }

  void LexBackslash() {
    size_t end = at_ + 1;
    while (end < text_.size() && IsLetter(text_[end])) ++end;
    if (end == at_ + 1) return LexEscape();
    const absl::string_view name = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end;
    const auto named = NamedCommands().find(name);
    if (named != NamedCommands().end()) return PushNamed(named->second);
    const auto found = LatexCommands().find(name);
    if (found == LatexCommands().end()) return PushOther(name);
    absl::string_view group;
    switch (found->second.action) {
      case Action::kIgnore:
        break;
      case Action::kIgnoreGroup:
        TakeGroup(group);
        break;
      case Action::kWords:
      case Action::kFont:
        if (!TakeGroup(group)) return PushOperator(op::kUnknown);
        if (name == "mathbb") {  // the set R is not the symbol R
          Push({.kind = TokenKind::kSymbol, .text = WithCommand(name, group)});
          break;
        }
        PushWords(absl::StripAsciiWhitespace(group), found->second.action == Action::kFont);
        break;
      case Action::kModulus:
        if (!TakeGroup(group)) return PushOperator(op::kUnknown);
        Push({.kind = TokenKind::kText, .text = WithCommand(name, group)});
        break;
      case Action::kFraction:
        Push({.kind = TokenKind::kFraction});
        break;
      case Action::kBinomial:
        Push({.kind = TokenKind::kBinomial});
        break;
      case Action::kBegin:
      case Action::kFinish:
        if (!TakeGroup(group)) return PushOperator(op::kUnknown);
        PushEnvironment(group, found->second.action == Action::kBegin);
        break;
      default:
        PushNamed(found->second);
    }
  }

  // Greek letters and the few other symbols.
  void PushOther(absl::string_view name) {
    static constexpr absl::string_view kSymbols[] = {
        "alpha", "beta",     "gamma", "delta",   "epsilon",  "varepsilon", "zeta",  "eta",
        "theta", "vartheta", "iota",  "kappa",   "lambda",   "mu",         "nu",    "xi",
        "rho",   "sigma",    "tau",   "upsilon", "phi",      "varphi",     "chi",   "psi",
        "omega", "Gamma",    "Delta", "Theta",   "Lambda",   "Xi",         "Pi",    "Sigma",
        "Phi",   "Psi",      "Omega", "ell",     "emptyset", "varnothing", "pounds"};
    const bool known =
        std::find(std::begin(kSymbols), std::end(kSymbols), name) != std::end(kSymbols);
    if (!known) return PushOperator(op::kUnknown);
    if (name == "varnothing") name = "emptyset";
    Push({.kind = TokenKind::kSymbol, .text = name});
  }

  void PushEnvironment(absl::string_view name, bool begins) {
    const bool is_matrix = absl::EndsWith(name, "matrix") || name == "array";
    if (!is_matrix) return PushOperator(op::kUnknown);
    if (begins && name == "array") {
      absl::string_view columns;
      TakeGroup(columns);
    }
    Push({.kind = begins ? TokenKind::kBegin : TokenKind::kFinish, .text = name});
  }

  void PushWords(absl::string_view words, bool is_font) {
    if (words.empty()) return;
    const auto named = NamedCommands().find(words);
    if (named != NamedCommands().end() && (is_font || named->second.op == op::kAnd)) {
      return PushNamed(named->second);
    }
    if (is_font && words.size() == 1 && IsLetter(words[0])) return PushLetter(words);
    // \text{12 cm} is 12 cm, but \text{4:30 p.m.} is words.
    const bool is_measure = IsDigit(words[0]) && !absl::StrContains(words, ':');
    if (is_measure) return Lexer(words, tokens_).LexAll();
    Push({.kind = TokenKind::kText, .text = words});
  }

  void LexEscape() {
    const char c = Peek(1);
    at_ += 2;
    if (c == '{') return PushOperator(op::kSetOpen);
    if (c == '}') return PushOperator(op::kSetClose);
    if (c == '\\') return PushOperator(op::kRowBreak);
    if (c == '%' || c == '$' || c == '|') return PushOperator(c);
    // Spacing, and the marks of inline mathematics.
    if (c == '\0' || !absl::StrContains("!,;:> ()[]\n", absl::string_view(&c, 1))) {
      PushOperator(op::kUnknown);
    }
    at_ = std::min(at_, text_.size());
    space_ = true;
  }

  void LexCharacter(char c) {
    ++at_;
    const char next = Peek(0);
    if (c == '*' && next == '*') {
      ++at_;
      return PushOperator('^');
    }
    if ((c == '<' || c == '>') && next == '=') {
      ++at_;
      return PushOperator(c == '<' ? relation::kLessEqual : relation::kGreaterEqual);
    }
    if (c == '=' && next == '=') ++at_;
    if (c == '\'' && !tokens_.empty() && tokens_.back().kind == TokenKind::kSymbol && !space_ &&
        tokens_.back().text.end() == text_.data() + at_ - 1) {
      Token& symbol = tokens_.back();
      symbol.text = absl::string_view(symbol.text.data(), symbol.text.size() + 1);
      return;
    }
    const bool is_known = absl::StrContains("+-*/^_!%()[]{},;|<>=:&", absl::string_view(&c, 1));
    PushOperator(is_known ? c : op::kUnknown);
  }

  absl::string_view text_;
  std::vector<Token>& tokens_;
  size_t at_ = 0;
  int brackets_ = 0;
  bool space_ = false;
};

}  // namespace

void Tokenize(absl::string_view text, Tokens& tokens) {
  tokens.source = UnicodeToLatex(text);
  absl::string_view source = tokens.source;
  // A dollar sign that opens nothing is money.
  while (!source.empty() && (IsSpace(source.back()) ||
                             absl::StrContains(".,;:$", absl::string_view(&source.back(), 1)))) {
    if (source.back() == '$' && source.size() > 1 && source[source.size() - 2] == '\\') break;
    source.remove_suffix(1);
  }
  tokens.tokens.clear();
  tokens.tokens.reserve(source.size() / 2 + 2);
  Lexer(source, tokens.tokens).Run();
}

std::string PlainText(absl::string_view text) {
  std::string plain;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\\') {
      size_t end = at + 1;
      while (end < text.size() && IsLetter(text[end])) ++end;
      const absl::string_view name = text.substr(at + 1, end - at - 1);
      const auto found = LatexCommands().find(name);
      const bool is_wrapper =
          found != LatexCommands().end() &&
          (found->second.action == Action::kWords || found->second.action == Action::kFont ||
           found->second.action == Action::kIgnore);
      if (is_wrapper || name.empty()) at = std::max(at, end - 1);
      continue;
    }
    if (IsDigit(c) || IsLetter(c) || c == ':' || (c & 0x80) != 0) {
      plain += absl::ascii_tolower(static_cast<unsigned char>(c));
    }
  }
  return plain;
}

}  // namespace r1::rewards::math
