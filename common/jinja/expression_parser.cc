#include "common/jinja/expression_parser.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "common/jinja/builtins.h"

namespace r1::jinja {
namespace {

Value IntegerValue(const std::string& digits) {
  int64_t integer = 0;
  return absl::SimpleAtoi(digits, &integer) ? Value::Integer(integer) : Value::BigInteger(digits);
}

}  // namespace

Expression ExpressionParser::Node(ExpressionKind kind) const {
  Expression node;
  node.kind = kind;
  node.line = stream_.current().line;
  return node;
}

ExpressionParser::Operand ExpressionParser::Finish(Expression node) const {
  for (const ExpressionPtr& operand : node.operands) {
    if (operand != nullptr) node.depth = std::max(node.depth, operand->depth + 1);
  }
  if (node.depth > kExpressionDepthMax) {
    return stream_.Error(
        absl::StrCat("the expression is nested deeper than ", kExpressionDepthMax, " levels"));
  }
  return std::make_unique<const Expression>(std::move(node));
}

ExpressionParser::Operand ExpressionParser::Make(ExpressionKind kind, ExpressionPtr first,
                                                 ExpressionPtr second) const {
  Expression node = Node(kind);
  node.operands.push_back(std::move(first));
  if (second != nullptr) node.operands.push_back(std::move(second));
  return Finish(std::move(node));
}

ExpressionParser::Operand ExpressionParser::ParseTuple(bool conditional) {
  Expression tuple = Node(ExpressionKind::kTuple);
  bool is_tuple = false;
  while (true) {
    const bool ends = stream_.Is(TokenKind::kOutputEnd) || stream_.Is(TokenKind::kStatementEnd) ||
                      stream_.IsOperator(")");
    if (ends && is_tuple) break;
    R1_ASSIGN_OR_RETURN(ExpressionPtr element, conditional ? ParseExpression() : ParseOr());
    tuple.operands.push_back(std::move(element));
    if (!stream_.SkipOperator(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) return std::move(tuple.operands[0]);
  return Finish(std::move(tuple));
}

ExpressionParser::Operand ExpressionParser::ParseExpression() { return ParseConditional(); }

ExpressionParser::Operand ExpressionParser::ParseConditional() {
  if (++depth_ > kExpressionDepthMax) {
    return stream_.Error(
        absl::StrCat("the expression is nested deeper than ", kExpressionDepthMax, " levels"));
  }
  const absl::Cleanup leave = [this] { --depth_; };
  R1_ASSIGN_OR_RETURN(ExpressionPtr node, ParseOr());
  while (stream_.SkipName("if")) {
    Expression conditional = Node(ExpressionKind::kConditional);
    R1_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    ExpressionPtr otherwise;
    if (stream_.SkipName("else")) {
      R1_ASSIGN_OR_RETURN(otherwise, ParseConditional());
    }
    conditional.operands.push_back(std::move(condition));
    conditional.operands.push_back(std::move(node));
    conditional.operands.push_back(std::move(otherwise));
    R1_ASSIGN_OR_RETURN(node, Finish(std::move(conditional)));
  }
  return node;
}

ExpressionParser::Operand ExpressionParser::ParseOr() {
  R1_ASSIGN_OR_RETURN(ExpressionPtr left, ParseAnd());
  while (stream_.SkipName("or")) {
    R1_ASSIGN_OR_RETURN(ExpressionPtr right, ParseAnd());
    R1_ASSIGN_OR_RETURN(left, Make(ExpressionKind::kOr, std::move(left), std::move(right)));
  }
  return left;
}

ExpressionParser::Operand ExpressionParser::ParseAnd() {
  R1_ASSIGN_OR_RETURN(ExpressionPtr left, ParseNot());
  while (stream_.SkipName("and")) {
    R1_ASSIGN_OR_RETURN(ExpressionPtr right, ParseNot());
    R1_ASSIGN_OR_RETURN(left, Make(ExpressionKind::kAnd, std::move(left), std::move(right)));
  }
  return left;
}

ExpressionParser::Operand ExpressionParser::ParseNot() {
  int count = 0;
  while (stream_.SkipName("not")) ++count;
  R1_ASSIGN_OR_RETURN(ExpressionPtr node, ParseCompare());
  for (; count > 0; --count) {
    R1_ASSIGN_OR_RETURN(node, Make(ExpressionKind::kNot, std::move(node)));
  }
  return node;
}

ExpressionParser::Operand ExpressionParser::ParseCompare() {
  Expression compare = Node(ExpressionKind::kCompare);
  R1_ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  compare.operands.push_back(std::move(first));
  while (true) {
    std::string word;
    for (const absl::string_view candidate : {"==", "!=", "<", "<=", ">", ">="}) {
      if (stream_.IsOperator(candidate)) word = std::string(candidate);
    }
    if (!word.empty()) {
      stream_.Take();
    } else if (stream_.SkipName("in")) {
      word = "in";
    } else if (stream_.IsName("not") && stream_.next().kind == TokenKind::kName &&
               stream_.next().text == "in") {
      stream_.Take();
      stream_.Take();
      word = "not in";
    } else {
      break;
    }
    compare.words.push_back(std::move(word));
    R1_ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
    compare.operands.push_back(std::move(next));
  }
  if (compare.words.empty()) return std::move(compare.operands[0]);
  return Finish(std::move(compare));
}

ExpressionParser::Operand ExpressionParser::ParseBinaryChain(
    Operand (ExpressionParser::*next)(), std::initializer_list<absl::string_view> operators) {
  R1_ASSIGN_OR_RETURN(ExpressionPtr left, (this->*next)());
  while (true) {
    Expression node = Node(ExpressionKind::kBinary);
    for (const absl::string_view candidate : operators) {
      if (stream_.IsOperator(candidate)) node.name = std::string(candidate);
    }
    if (node.name.empty()) return left;
    stream_.Take();
    R1_ASSIGN_OR_RETURN(ExpressionPtr right, (this->*next)());
    node.operands.push_back(std::move(left));
    node.operands.push_back(std::move(right));
    R1_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
}

ExpressionParser::Operand ExpressionParser::ParseSum() {
  return ParseBinaryChain(&ExpressionParser::ParseConcat, {"+", "-"});
}

ExpressionParser::Operand ExpressionParser::ParseConcat() {
  Expression concat = Node(ExpressionKind::kConcat);
  do {
    R1_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseProduct());
    concat.operands.push_back(std::move(operand));
  } while (stream_.SkipOperator("~"));
  if (concat.operands.size() == 1) return std::move(concat.operands[0]);
  return Finish(std::move(concat));
}

ExpressionParser::Operand ExpressionParser::ParseProduct() {
  return ParseBinaryChain(&ExpressionParser::ParsePower, {"*", "/", "//", "%"});
}

ExpressionParser::Operand ExpressionParser::ParsePower() {
  R1_ASSIGN_OR_RETURN(ExpressionPtr left, ParseUnary(true));
  while (stream_.IsOperator("**")) {
    Expression node = Node(ExpressionKind::kBinary);
    node.name = stream_.Take().text;
    R1_ASSIGN_OR_RETURN(ExpressionPtr right, ParseUnary(true));
    node.operands.push_back(std::move(left));
    node.operands.push_back(std::move(right));
    R1_ASSIGN_OR_RETURN(left, Finish(std::move(node)));
  }
  return left;
}

ExpressionParser::Operand ExpressionParser::ParseUnary(bool with_filters) {
  if (++depth_ > kExpressionDepthMax) {
    return stream_.Error(
        absl::StrCat("the expression is nested deeper than ", kExpressionDepthMax, " levels"));
  }
  const absl::Cleanup leave = [this] { --depth_; };
  ExpressionPtr node;
  if (stream_.IsOperator("-") || stream_.IsOperator("+")) {
    const auto kind =
        stream_.Take().text == "-" ? ExpressionKind::kNegative : ExpressionKind::kPositive;
    R1_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(false));
    R1_ASSIGN_OR_RETURN(node, Make(kind, std::move(operand)));
  } else {
    R1_ASSIGN_OR_RETURN(node, ParsePrimary());
  }
  R1_ASSIGN_OR_RETURN(node, ParsePostfix(std::move(node)));
  return with_filters ? ParseFiltersAndTests(std::move(node)) : Operand(std::move(node));
}

ExpressionParser::Operand ExpressionParser::ParsePrimary() {
  Expression node = Node(ExpressionKind::kConstant);
  switch (stream_.current().kind) {
    case TokenKind::kName: {
      const std::string name = stream_.Take().text;
      if (name == "true" || name == "True" || name == "false" || name == "False") {
        node.value = Value::Bool(name == "true" || name == "True");
      } else if (name != "none" && name != "None") {
        node.kind = ExpressionKind::kName;
        node.name = name;
      }
      return Finish(std::move(node));
    }
    case TokenKind::kString: {
      std::string text;  // neighbours are one string
      while (stream_.Is(TokenKind::kString)) text += stream_.Take().text;
      node.value = Value::String(text, false);
      return Finish(std::move(node));
    }
    case TokenKind::kInteger:
      node.value = IntegerValue(stream_.Take().text);
      return Finish(std::move(node));
    case TokenKind::kFloat:
      node.value = Value::Float(stream_.Take().number);
      return Finish(std::move(node));
    default:
      if (stream_.IsOperator("(")) return ParseParentheses();
      if (stream_.IsOperator("[")) return ParseListLiteral();
      if (stream_.IsOperator("{")) return ParseDictLiteral();
      return stream_.Expected("an expression");
  }
}

ExpressionParser::Operand ExpressionParser::ParseParentheses() {
  R1_RETURN_IF_ERROR(stream_.ExpectOperator("("));
  if (stream_.SkipOperator(")")) return Finish(Node(ExpressionKind::kTuple));
  R1_ASSIGN_OR_RETURN(ExpressionPtr inside, ParseTuple());
  R1_RETURN_IF_ERROR(stream_.ExpectOperator(")"));
  return inside;
}

ExpressionParser::Operand ExpressionParser::ParseListLiteral() {
  Expression list = Node(ExpressionKind::kList);
  R1_RETURN_IF_ERROR(stream_.ExpectOperator("["));
  while (!stream_.SkipOperator("]")) {
    if (!list.operands.empty()) {
      R1_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      if (stream_.SkipOperator("]")) break;
    }
    R1_ASSIGN_OR_RETURN(ExpressionPtr element, ParseExpression());
    list.operands.push_back(std::move(element));
  }
  return Finish(std::move(list));
}

ExpressionParser::Operand ExpressionParser::ParseDictLiteral() {
  Expression dict = Node(ExpressionKind::kDict);
  R1_RETURN_IF_ERROR(stream_.ExpectOperator("{"));
  while (!stream_.SkipOperator("}")) {
    if (!dict.operands.empty()) {
      R1_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      if (stream_.SkipOperator("}")) break;
    }
    R1_ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    R1_RETURN_IF_ERROR(stream_.ExpectOperator(":"));
    R1_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    dict.operands.push_back(std::move(key));
    dict.operands.push_back(std::move(value));
  }
  return Finish(std::move(dict));
}

ExpressionParser::Operand ExpressionParser::ParsePostfix(ExpressionPtr node) {
  while (true) {
    if (stream_.IsOperator(".") || stream_.IsOperator("[")) {
      R1_ASSIGN_OR_RETURN(node, ParseSubscript(std::move(node)));
    } else if (stream_.IsOperator("(")) {
      Expression call = Node(ExpressionKind::kCall);
      call.operands.push_back(std::move(node));
      R1_RETURN_IF_ERROR(ParseArguments(call));
      R1_ASSIGN_OR_RETURN(node, Finish(std::move(call)));
    } else {
      return node;
    }
  }
}

ExpressionParser::Operand ExpressionParser::ParseSubscript(ExpressionPtr node) {
  if (stream_.SkipOperator(".")) {
    Expression attribute = Node(ExpressionKind::kAttribute);
    if (stream_.Is(TokenKind::kInteger)) {
      Expression index = Node(ExpressionKind::kConstant);
      index.value = IntegerValue(stream_.Take().text);
      R1_ASSIGN_OR_RETURN(ExpressionPtr place, Finish(std::move(index)));
      return Make(ExpressionKind::kItem, std::move(node), std::move(place));
    }
    R1_ASSIGN_OR_RETURN(attribute.name, stream_.ExpectAnyName());
    attribute.operands.push_back(std::move(node));
    return Finish(std::move(attribute));
  }
  R1_RETURN_IF_ERROR(stream_.ExpectOperator("["));
  Expression slice = Node(ExpressionKind::kSlice);
  ExpressionPtr bounds[3];
  int count = 0;
  while (true) {
    if (!stream_.IsOperator(":") && !stream_.IsOperator("]")) {
      R1_ASSIGN_OR_RETURN(bounds[count], ParseExpression());
    }
    if (count == 2 || !stream_.SkipOperator(":")) break;
    ++count;
  }
  R1_RETURN_IF_ERROR(stream_.ExpectOperator("]"));
  if (count == 0) {
    if (bounds[0] == nullptr) return stream_.Error("expected an index between [ and ]");
    return Make(ExpressionKind::kItem, std::move(node), std::move(bounds[0]));
  }
  slice.operands.push_back(std::move(node));
  for (ExpressionPtr& bound : bounds) slice.operands.push_back(std::move(bound));
  return Finish(std::move(slice));
}

absl::Status ExpressionParser::ParseArguments(Expression& call) {
  R1_RETURN_IF_ERROR(stream_.ExpectOperator("("));
  for (bool first = true; !stream_.SkipOperator(")"); first = false) {
    if (!first) {
      R1_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      if (stream_.SkipOperator(")")) break;
    }
    if (stream_.IsOperator("*") || stream_.IsOperator("**")) {
      return stream_.Error("*arguments and **arguments are not supported");
    }
    const bool keyword = stream_.Is(TokenKind::kName) &&
                         stream_.next().kind == TokenKind::kOperator && stream_.next().text == "=";
    if (keyword) {
      const std::string name = stream_.Take().text;
      stream_.Take();
      if (std::find(call.words.begin(), call.words.end(), name) != call.words.end()) {
        return stream_.Error(absl::StrCat("argument ", name, " is given twice"));
      }
      call.words.push_back(name);
    } else if (!call.words.empty()) {
      return stream_.Error("expected a keyword argument after a keyword argument");
    }
    R1_ASSIGN_OR_RETURN(ExpressionPtr argument, ParseExpression());
    call.operands.push_back(std::move(argument));
  }
  return absl::OkStatus();
}

ExpressionParser::Operand ExpressionParser::ParseFiltersAndTests(ExpressionPtr node) {
  while (true) {
    if (stream_.IsOperator("|")) {
      R1_ASSIGN_OR_RETURN(node, ParseFilters(std::move(node)));
    } else if (stream_.IsName("is")) {
      R1_ASSIGN_OR_RETURN(node, ParseTest(std::move(node)));
    } else if (stream_.IsOperator("(")) {
      R1_ASSIGN_OR_RETURN(node, ParsePostfix(std::move(node)));
    } else {
      return node;
    }
  }
}

ExpressionParser::Operand ExpressionParser::ParseFilters(ExpressionPtr filtered) {
  bool in_front = filtered == nullptr && !stream_.IsOperator("|");
  while (in_front || stream_.SkipOperator("|")) {
    in_front = false;
    Expression filter = Node(ExpressionKind::kFilter);
    R1_ASSIGN_OR_RETURN(filter.name, stream_.ExpectAnyName());
    if (!IsFilter(filter.name)) {
      return stream_.Error(absl::StrCat("filter ", filter.name, " is not supported"));
    }
    filter.operands.push_back(std::move(filtered));
    if (stream_.IsOperator("(")) R1_RETURN_IF_ERROR(ParseArguments(filter));
    R1_ASSIGN_OR_RETURN(filtered, Finish(std::move(filter)));
  }
  return filtered;
}

ExpressionParser::Operand ExpressionParser::ParseTest(ExpressionPtr node) {
  R1_RETURN_IF_ERROR(stream_.ExpectName("is"));
  Expression test = Node(ExpressionKind::kTest);
  const bool negated = stream_.SkipName("not");
  R1_ASSIGN_OR_RETURN(test.name, stream_.ExpectAnyName());
  if (!IsTest(test.name)) {
    return stream_.Error(absl::StrCat("test ", test.name, " is not supported"));
  }
  test.operands.push_back(std::move(node));
  const TokenKind kind = stream_.current().kind;
  const bool ends = stream_.IsName("else") || stream_.IsName("or") || stream_.IsName("and");
  if (stream_.IsOperator("(")) {
    R1_RETURN_IF_ERROR(ParseArguments(test));
  } else if ((kind == TokenKind::kName || kind == TokenKind::kString ||
              kind == TokenKind::kInteger || kind == TokenKind::kFloat || stream_.IsOperator("[") ||
              stream_.IsOperator("{")) &&
             !ends) {
    if (stream_.IsName("is")) return stream_.Error("tests with \"is\" cannot be chained");
    R1_ASSIGN_OR_RETURN(ExpressionPtr argument, ParsePrimary());
    R1_ASSIGN_OR_RETURN(argument, ParsePostfix(std::move(argument)));
    test.operands.push_back(std::move(argument));
  }
  R1_ASSIGN_OR_RETURN(ExpressionPtr made, Finish(std::move(test)));
  return negated ? Make(ExpressionKind::kNot, std::move(made)) : Operand(std::move(made));
}

}  // namespace r1::jinja
