#include "rewards/math/parser.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rewards/math/lexer.h"
#include "rewards/math/literal.h"
#include "rewards/math/units.h"

namespace r1::rewards::math {
namespace {

class Parser {
 public:
  Parser(Tokens& tokens, Expression& expression) : tokens_(tokens.tokens), out_(expression) {}

  NodeId Parse() {
    if (IsOperator(relation::kEqual) || IsOperator(relation::kAbout)) ++at_;  // "= 5"
    const NodeId id = ParseList();
    return Peek().kind == TokenKind::kEnd ? id : kNoNode;
  }
  bool too_deep() const { return too_deep_; }

 private:
  // Counts the nesting of the descent itself; every recursion passes here.
  class Level {
   public:
    explicit Level(Parser& parser) : parser_(parser) { ++parser_.depth_; }
    ~Level() { --parser_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    bool too_deep() const {
      if (parser_.depth_ > kDepthMax) parser_.too_deep_ = true;
      return parser_.too_deep_;
    }

   private:
    Parser& parser_;
  };

  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  bool IsOperator(char op, size_t ahead = 0) const {
    return Peek(ahead).kind == TokenKind::kOperator && Peek(ahead).op == op;
  }
  bool Take(char op) {
    if (!IsOperator(op)) return false;
    ++at_;
    return true;
  }
  NodeId Need(char op, NodeId id) { return Take(op) ? id : kNoNode; }
  NodeId Integer(slong value) { return out_.AddNumber(Rational(value)); }

  // Lists and relations ---------------------------------------------------------------------------

  bool TakeSeparator() {
    bool taken = false;
    while (Take(',') || Take(';') || Take(op::kAnd)) taken = true;
    return taken;
  }
  bool AtListEnd() const {
    const Token& token = Peek();
    return token.kind == TokenKind::kEnd || token.kind == TokenKind::kFinish ||
           (token.kind == TokenKind::kOperator &&
            absl::StrContains(")]}T&r", absl::string_view(&token.op, 1)));
  }

  NodeId ParseList() {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    std::vector<NodeId> items;
    do {
      if (!items.empty() && AtListEnd()) break;
      items.push_back(ParseRelation());
      if (items.back() == kNoNode) return kNoNode;
    } while (TakeSeparator());
    return items.size() == 1 ? items[0] : out_.Add({.kind = Kind::kList}, items);
  }

  static bool IsRelation(const Token& token) {
    return token.kind == TokenKind::kOperator &&
           absl::StrContains("=<>lgne~", absl::string_view(&token.op, 1));
  }

  NodeId ParseRelation() {
    std::vector<NodeId> sides = {ParseSide()};
    std::string operators;
    while (sides.back() != kNoNode) {
      if (Take(op::kArrow)) {  // what follows is what counts
        sides = {ParseSide()};
        operators.clear();
        continue;
      }
      if (!IsRelation(Peek())) break;
      operators += Peek().op;
      ++at_;
      sides.push_back(ParseSide());
    }
    if (sides.back() == kNoNode) return kNoNode;
    return sides.size() == 1 ? sides[0] : out_.AddNamed(Kind::kRelation, operators, sides);
  }

  NodeId ParseSide() {
    std::vector<NodeId> parts = {ParseMeasure()};
    if (parts[0] != kNoNode && IsOperator(':') && !in_braces_) return ParseRatio(parts[0]);
    while (parts.back() != kNoNode && Take(op::kUnion)) parts.push_back(ParseMeasure());
    if (parts.back() == kNoNode) return kNoNode;
    return parts.size() == 1 ? parts[0] : out_.Add({.kind = Kind::kUnion}, parts);
  }

  NodeId ParseRatio(NodeId first) {
    std::vector<NodeId> parts = {first};
    bool is_clock = true;
    while (Take(':')) {
      is_clock = is_clock && Peek().kind == TokenKind::kNumber && Peek().text.size() == 2;
      parts.push_back(ParseSum());
      if (parts.back() == kNoNode) return kNoNode;
    }
    const NodeId ratio = out_.Add({.kind = Kind::kRatio, .is_clock = is_clock}, parts);
    return ParseUnit(ratio);
  }

  // A sum with the unit behind it, or words.
  NodeId ParseMeasure() {
    if (Peek().kind == TokenKind::kText) {
      const std::string words = TakeWords();
      return out_.AddNamed(Kind::kText, PlainText(words));
    }
    const bool had_money = has_money_;
    has_money_ = false;
    const NodeId sum = ParseSum();
    const bool is_money = has_money_;
    has_money_ = had_money;
    if (sum == kNoNode) return kNoNode;
    if (is_money) {
      TakeWords();
      return out_.AddNamed(Kind::kUnit, "$", {sum});
    }
    return ParseUnit(sum);
  }

  // Words, with the exponents of units among them: "cm ^2".
  std::string TakeWords() {
    std::string words;
    while (true) {
      if (Peek().kind == TokenKind::kText) {
        absl::StrAppend(&words, words.empty() ? "" : " ", Peek().text);
        ++at_;
      } else if (!words.empty() && IsOperator('^') && Peek(1).kind == TokenKind::kNumber) {
        absl::StrAppend(&words, "^", Peek(1).text);
        at_ += 2;
      } else if (!words.empty() && IsOperator('^') && IsOperator('{', 1) &&
                 Peek(2).kind == TokenKind::kNumber && IsOperator('}', 3)) {
        absl::StrAppend(&words, "^", Peek(2).text);
        at_ += 4;
      } else if (!words.empty() && IsOperator('/') && Peek(1).kind == TokenKind::kText) {
        ++at_;
      } else {
        return words;
      }
    }
  }

  NodeId ParseUnit(NodeId value) {
    if (value == kNoNode || Peek().kind != TokenKind::kText) return value;
    return out_.AddNamed(Kind::kUnit, CanonicalUnit(TakeWords()), {value});
  }

  // Arithmetic ------------------------------------------------------------------------------------

  NodeId ParseSum() {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    std::vector<NodeId> terms;
    while (true) {
      const bool is_first = terms.empty();
      const char sign = Peek().kind == TokenKind::kOperator ? Peek().op : '\0';
      const bool is_sign = absl::StrContains("+-pm", absl::string_view(&sign, 1)) && sign != '\0';
      if (is_sign) ++at_;
      if (!is_first && !is_sign) break;
      NodeId term = ParseProduct();
      if (term == kNoNode) return kNoNode;
      if (sign == '-') term = out_.Add({.kind = Kind::kNegate}, {term});
      if (is_sign && (sign == op::kPlusMinus || sign == op::kMinusPlus)) {
        term = out_.AddPlusMinus(term, sign == op::kMinusPlus);
      }
      terms.push_back(term);
    }
    return terms.size() == 1 ? terms[0] : out_.Add({.kind = Kind::kSum}, terms);
  }

  NodeId Product(const std::vector<NodeId>& factors) {
    return factors.size() == 1 ? factors[0] : out_.Add({.kind = Kind::kProduct}, factors);
  }

  NodeId ParseProduct() {
    std::vector<NodeId> factors = {ParseFactor()};
    while (factors.back() != kNoNode) {
      if (Take('*')) {
        factors.push_back(ParseFactor());
      } else if (Take('/')) {
        const NodeId divisor = ParseFactor();
        if (divisor == kNoNode) return kNoNode;
        factors = {out_.Add({.kind = Kind::kQuotient}, {Product(factors), divisor})};
      } else if (BeginsFactor()) {
        factors.push_back(ParsePostfix());
      } else {
        return Product(factors);
      }
    }
    return kNoNode;
  }

  // Whether the next token multiplies what was read without a sign between.
  bool BeginsFactor() const {
    const Token& token = Peek();
    switch (token.kind) {
      case TokenKind::kNumber:  // "2 3" is no product
        return tokens_[at_ - 1].kind != TokenKind::kNumber;
      case TokenKind::kSymbol:
      case TokenKind::kConstant:
      case TokenKind::kFunction:
      case TokenKind::kFraction:
      case TokenKind::kBinomial:
      case TokenKind::kBegin:
        return true;
      case TokenKind::kOperator:
        if (token.op == '|') return bars_ == 0 && !in_braces_;
        return absl::StrContains("({[Sofc", absl::string_view(&token.op, 1));
      default:
        return false;
    }
  }

  NodeId ParseFactor() {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    if (Take('-')) {
      const NodeId factor = ParseFactor();
      return out_.Add({.kind = Kind::kNegate}, {factor});
    }
    if (Take('+')) return ParseFactor();
    if (IsOperator(op::kPlusMinus) || IsOperator(op::kMinusPlus)) {
      const bool is_negative = Take(op::kMinusPlus);
      if (!is_negative) ++at_;
      return out_.AddPlusMinus(ParseFactor(), is_negative);
    }
    return ParsePostfix();
  }

  NodeId ParsePostfix() {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    NodeId base = ParsePrimary();
    while (base != kNoNode) {
      if (IsOperator('^') || IsOperator(op::kDegree)) {
        base = ParseExponent(base);
      } else if (Take('!')) {
        base = out_.Add({.kind = Kind::kFactorial}, {base});
      } else if (Take('%')) {
        base = out_.AddNamed(Kind::kUnit, "%", {base});
      } else if (IsOperator('_') && out_.at(base).kind == Kind::kNumber &&
                 out_.at(base).in_parentheses) {
        base = ParseBase(out_.number(base));
      } else {
        return base;
      }
    }
    return kNoNode;
  }

  // After a base: an exponent or the sign of degrees.
  NodeId ParseExponent(NodeId base) {
    Take('^');
    const bool is_group = IsOperator('{') && IsOperator(op::kDegree, 1) && IsOperator('}', 2);
    if (is_group) at_ += 3;
    if (is_group || Take(op::kDegree)) return out_.AddNamed(Kind::kUnit, "deg", {base});
    const NodeId exponent = ParseArgument(/*one_digit=*/false);
    return out_.Add({.kind = Kind::kPower}, {base, exponent});
  }

  // What a LaTeX command takes: a group, or one token. `one_digit`: \frac12 is 1 over 2.
  NodeId ParseArgument(bool one_digit) {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    if (Take('{')) {
      const NodeId id = ParseList();
      return Need('}', id);
    }
    Token& token = tokens_[std::min(at_, tokens_.size() - 1)];
    if (one_digit && token.kind == TokenKind::kNumber && token.text.size() > 1) {
      const NodeId digit = Integer(token.text[0] - '0');
      if (!absl::ascii_isdigit(static_cast<unsigned char>(token.text[0]))) return kNoNode;
      token.text.remove_prefix(1);
      return digit;
    }
    if (Take('-')) {
      const NodeId argument = ParseArgument(one_digit);
      return out_.Add({.kind = Kind::kNegate}, {argument});
    }
    return ParsePrimary();
  }

  NodeId ParsePrimary() {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    const Token token = Peek();
    switch (token.kind) {
      case TokenKind::kNumber:
        return ParseNumber();
      case TokenKind::kSymbol:
        ++at_;
        return ParseSymbol(std::string(token.text));
      case TokenKind::kConstant:
        ++at_;
        if (IsOperator('_')) return ParseSymbol(std::string(token.text));
        return out_.Add({.kind = Kind::kConstant, .detail = token.id});
      case TokenKind::kFunction:
        ++at_;
        return ParseFunction(static_cast<Function>(token.id));
      case TokenKind::kFraction:
      case TokenKind::kBinomial:
        ++at_;
        return ParseFraction(token.kind == TokenKind::kBinomial);
      case TokenKind::kBegin:
        ++at_;
        return ParseMatrix(token.text);
      case TokenKind::kOperator:
        ++at_;
        return ParseBracket(token.op);
      default:
        return kNoNode;
    }
  }

  // The text of a subscript: letters and digits.
  bool TakeSubscript(std::string& text) {
    const bool is_group = Take('{');
    while (Peek().kind == TokenKind::kNumber || Peek().kind == TokenKind::kSymbol ||
           Peek().kind == TokenKind::kConstant || Peek().kind == TokenKind::kText ||
           (is_group && (IsOperator(',') || IsOperator('+') || IsOperator('-')))) {
      if (Peek().kind == TokenKind::kOperator) {
        text += Peek().op;
      } else {
        absl::StrAppend(&text, Peek().text);
      }
      ++at_;
      if (!is_group) return true;
    }
    return is_group && !text.empty() && Take('}');
  }

  NodeId ParseSymbol(std::string name) {
    std::string subscript;
    if (Take('_')) {
      if (!TakeSubscript(subscript)) return kNoNode;
      absl::StrAppend(&name, "_", subscript);
    }
    if (name == "emptyset") return out_.Add({.kind = Kind::kSet});
    return out_.AddNamed(Kind::kSymbol, name);
  }

  // A number, a mixed number such as 3\frac{1}{2} or 3 1/2, or a number in another base.
  NodeId ParseNumber() {
    const Token token = Peek();
    ++at_;
    Rational value;
    std::string base;
    if (Take('_')) {
      if (!TakeSubscript(base) || !ParseBaseLiteral(token.text, base, value)) return kNoNode;
      return out_.AddNumber(std::move(value));
    }
    if (!ParseDecimal(token.text, token.repeat, value)) return kNoNode;
    const bool is_integer = value.IsInteger() && !absl::StrContains(token.text, ".");
    const NodeId whole = out_.AddNumber(std::move(value));
    if (!is_integer) return whole;
    if (Peek().kind == TokenKind::kFraction) return ParseMixed(whole);
    const bool is_plain_mixed = Peek().kind == TokenKind::kNumber && Peek().space_before &&
                                IsOperator('/', 1) && Peek(2).kind == TokenKind::kNumber;
    if (!is_plain_mixed) return whole;
    const NodeId over = ParseNumber();
    ++at_;
    const NodeId under = ParseNumber();
    const NodeId fraction = out_.Add({.kind = Kind::kQuotient}, {over, under});
    return out_.Add({.kind = Kind::kSum, .in_parentheses = true}, {whole, fraction});
  }

  // (101)_2.
  NodeId ParseBase(Rational digits) {
    std::string base;
    Rational value;
    if (!Take('_') || !TakeSubscript(base) || !digits.IsInteger()) return kNoNode;
    if (!ParseBaseLiteral(DecimalDigits(digits), base, value)) return kNoNode;
    return out_.AddNumber(std::move(value));
  }

  NodeId ParseMixed(NodeId whole) {
    const NodeId fraction = ParsePrimary();
    if (fraction == kNoNode) return kNoNode;
    const bool is_numeric = out_.at(out_.child(fraction, 0)).kind == Kind::kNumber &&
                            out_.at(out_.child(fraction, 1)).kind == Kind::kNumber;
    const Kind kind = is_numeric ? Kind::kSum : Kind::kProduct;
    return out_.Add({.kind = kind, .in_parentheses = true}, {whole, fraction});
  }

  NodeId ParseFraction(bool is_binomial) {
    const NodeId over = ParseArgument(/*one_digit=*/true);
    const NodeId under = ParseArgument(/*one_digit=*/true);
    if (over == kNoNode || under == kNoNode) return kNoNode;
    if (is_binomial) return out_.AddFunction(Function::kBinomial, {over, under});
    return out_.Add({.kind = Kind::kQuotient}, {over, under});
  }

  // \sqrt[3]{x}, \log_2 8, \sin^2 x, \sin^{-1} x, \gcd(a, b), \sin 2x.
  NodeId ParseFunction(Function function) {
    std::vector<NodeId> extra;
    if (function == Function::kRoot && Take('[')) extra = {Need(']', ParseSum())};
    if (function == Function::kLog && Take('_')) extra = {ParseArgument(/*one_digit=*/true)};
    if (!extra.empty() && extra[0] == kNoNode) return kNoNode;
    NodeId power = kNoNode;
    if (function != Function::kRoot && Take('^')) {
      power = ParseArgument(/*one_digit=*/true);
      if (power == kNoNode) return kNoNode;
      if (TakeInverse(power, function)) power = kNoNode;
    }
    NodeId argument = kNoNode;
    if (function == Function::kRoot) {
      argument = ParseArgument(/*one_digit=*/false);
    } else if (IsOperator('(') || IsOperator('{') || IsOperator('[')) {
      argument = ParsePrimary();
    } else {
      argument = ParseBareArgument();
    }
    if (argument == kNoNode) return kNoNode;
    std::vector<NodeId> arguments = {argument};
    const Kind kind = out_.at(argument).kind;
    if (kind == Kind::kTuple || kind == Kind::kList) {
      const absl::Span<const NodeId> items = out_.children(argument);
      arguments.assign(items.begin(), items.end());
    }
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    const NodeId value = out_.AddFunction(function, arguments);
    return power == kNoNode ? value : out_.Add({.kind = Kind::kPower}, {value, power});
  }

  // Turns \sin^{-1} into \arcsin.
  bool TakeInverse(NodeId power, Function& function) const {
    const Node& node = out_.at(power);
    const bool is_minus_one = node.kind == Kind::kNegate &&
                              out_.at(out_.child(power, 0)).kind == Kind::kNumber &&
                              out_.number(out_.child(power, 0)) == Rational(1);
    if (!is_minus_one) return false;
    switch (function) {
      case Function::kSin:
        function = Function::kArcSin;
        return true;
      case Function::kCos:
        function = Function::kArcCos;
        return true;
      case Function::kTan:
        function = Function::kArcTan;
        return true;
      case Function::kCot:
        function = Function::kArcCot;
        return true;
      default:
        return false;
    }
  }

  // \sin 2x\cos x is (sin 2x)(cos x); \sin 2x + 1 is (sin 2x) + 1.
  NodeId ParseBareArgument() {
    std::vector<NodeId> factors = {ParseFactor()};
    while (factors.back() != kNoNode && Peek().kind != TokenKind::kFunction && !IsOperator('(') &&
           !IsOperator('|') && BeginsFactor()) {
      factors.push_back(ParsePostfix());
    }
    return factors.back() == kNoNode ? kNoNode : Product(factors);
  }

  NodeId ParseMatrix(absl::string_view environment) {
    const Level level(*this);
    if (level.too_deep()) return kNoNode;
    std::vector<NodeId> cells;
    size_t columns = 0, in_row = 0;
    while (Peek().kind != TokenKind::kFinish) {
      cells.push_back(ParseRelation());
      if (cells.back() == kNoNode) return kNoNode;
      ++in_row;
      if (Take('&')) continue;
      if (columns != 0 && in_row != columns) return kNoNode;
      columns = in_row;
      in_row = 0;
      if (!Take(op::kRowBreak) && Peek().kind != TokenKind::kFinish) return kNoNode;
    }
    if (in_row != 0 || Peek().text != environment) return kNoNode;
    ++at_;
    return out_.Add({.kind = Kind::kMatrix, .columns = static_cast<uint16_t>(columns)}, cells);
  }

  // Everything that an operator character opens.
  NodeId ParseBracket(char open) {
    switch (open) {
      case '(':
      case '[':
        return ParseTuple(open);
      case '{': {
        const NodeId id = Need('}', ParseList());
        return id != kNoNode && out_.at(id).kind == Kind::kList ? AsSet(id) : id;
      }
      case op::kSetOpen:
        return ParseSet();
      case '|': {
        ++bars_;
        const NodeId id = ParseSum();
        --bars_;
        return out_.AddFunction(Function::kAbs, {Need('|', id)});
      }
      case op::kFloorOpen:
        return out_.AddFunction(Function::kFloor, {Need(op::kFloorClose, ParseSum())});
      case op::kCeilingOpen:
        return out_.AddFunction(Function::kCeiling, {Need(op::kCeilingClose, ParseSum())});
      case '$':
        has_money_ = true;
        return ParsePrimary();
      case op::kOverline: {  // a segment \overline{AB}, a conjugate, a vector
        const size_t begin = at_;
        std::string name;
        if (TakeSubscript(name) && absl::ascii_isupper(static_cast<unsigned char>(name[0]))) {
          return out_.AddNamed(Kind::kSymbol, absl::StrCat("overline ", name));
        }
        at_ = begin;
        return out_.AddFunction(Function::kConjugate, {ParseArgument(/*one_digit=*/false)});
      }
      default:
        return kNoNode;
    }
  }

  NodeId ParseTuple(char open) {
    const int bars = bars_;
    const bool in_braces = in_braces_;
    bars_ = 0;
    in_braces_ = false;
    const NodeId id = ParseList();
    bars_ = bars;
    in_braces_ = in_braces;
    const bool closes_wide = Take(')');
    if (id == kNoNode || (!closes_wide && !Take(']'))) return kNoNode;
    if (out_.at(id).kind != Kind::kList) {
      out_.at(id).in_parentheses = true;
      return id;
    }
    const std::vector<NodeId> items(out_.children(id).begin(), out_.children(id).end());
    return out_.Add({.kind = Kind::kTuple, .opens_wide = open == '(', .closes_wide = closes_wide},
                    items);
  }

  NodeId AsSet(NodeId list) {
    const std::vector<NodeId> items(out_.children(list).begin(), out_.children(list).end());
    return out_.Add({.kind = Kind::kSet}, items);
  }

  // {1, 2}, {} and {x | x > 2}, which is its condition.
  NodeId ParseSet() {
    if (Take(op::kSetClose)) return out_.Add({.kind = Kind::kSet});
    const bool in_braces = in_braces_;
    in_braces_ = true;
    NodeId id = ParseList();
    in_braces_ = in_braces;
    if (id == kNoNode) return kNoNode;
    if (Take('|') || Take(':')) return Need(op::kSetClose, ParseList());
    if (!Take(op::kSetClose)) return kNoNode;
    return out_.at(id).kind == Kind::kList ? AsSet(id) : out_.Add({.kind = Kind::kSet}, {id});
  }

  std::vector<Token>& tokens_;
  Expression& out_;
  size_t at_ = 0;
  int depth_ = 0;
  int bars_ = 0;  // | that are open
  bool in_braces_ = false;
  bool has_money_ = false;
  bool too_deep_ = false;
};

// Whether the answer holds words, so that it may be compared as text when it is no formula.
bool HasWords(const Tokens& tokens, absl::string_view text) {
  return absl::StrContains(text, "\\text") || absl::StrContains(text, "\\mbox") ||
         std::any_of(text.begin(), text.end(), [](char c) { return (c & 0x80) != 0; }) ||
         std::any_of(tokens.tokens.begin(), tokens.tokens.end(),
                     [](const Token& token) { return token.kind == TokenKind::kText; });
}

}  // namespace

bool ParseAnswer(absl::string_view text, Expression& expression, const char*& reason) {
  text = absl::StripAsciiWhitespace(text);
  reason = text.empty() ? "empty" : "too_long";
  if (text.empty() || text.size() > kAnswerBytesMax) return false;
  Tokens tokens;
  Tokenize(text, tokens);
  Parser parser(tokens, expression);
  expression.root = parser.Parse();
  if (expression.root != kNoNode) return true;
  reason = parser.too_deep() ? "too_large" : "syntax";
  if (parser.too_deep() || !HasWords(tokens, text)) return false;
  const std::string plain = PlainText(text);
  if (plain.empty()) return false;
  expression = Expression();
  expression.root = expression.AddNamed(Kind::kText, plain);
  return true;
}

}  // namespace r1::rewards::math
