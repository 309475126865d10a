// Expressions of the template language, by recursive descent with Jinja's precedences: a filter
// binds tighter than any binary operator, ~ tighter than +, and "if … else" last.
#pragma once

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "common/jinja/syntax.h"
#include "common/jinja/token_stream.h"
#include "common/status.h"

namespace r1::jinja {

// Expressions inside each other, a chain of operators counted as one inside the other.
inline constexpr int kExpressionDepthMax = 150;

// Not thread-safe. Borrows the stream; errors are those of TokenStream.
class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& stream) : stream_(stream) {}

  // "a" or "a, b", which is a tuple. `conditional`: "a if b else c" is part of it.
  absl::StatusOr<ExpressionPtr> ParseTuple(bool conditional = true);
  absl::StatusOr<ExpressionPtr> ParseExpression();
  // "| f | g(x)" after `filtered`, or, for a body, "f | g(x)" with null at its start.
  absl::StatusOr<ExpressionPtr> ParseFilters(ExpressionPtr filtered);

 private:
  using Operand = absl::StatusOr<ExpressionPtr>;
  Operand ParseConditional();
  Operand ParseOr();
  Operand ParseAnd();
  Operand ParseNot();
  Operand ParseCompare();
  Operand ParseSum();
  Operand ParseConcat();
  Operand ParseProduct();
  Operand ParsePower();
  Operand ParseUnary(bool with_filters);
  Operand ParsePrimary();
  Operand ParseParentheses();
  Operand ParseListLiteral();
  Operand ParseDictLiteral();
  Operand ParsePostfix(ExpressionPtr node);
  Operand ParseSubscript(ExpressionPtr node);
  Operand ParseFiltersAndTests(ExpressionPtr node);
  Operand ParseTest(ExpressionPtr node);
  Operand ParseBinaryChain(Operand (ExpressionParser::*next)(),
                           std::initializer_list<absl::string_view> operators);
  absl::Status ParseArguments(Expression& call);

  Expression Node(ExpressionKind kind) const;
  // Moves the node to where it stays, once its depth is known to be in bounds.
  Operand Finish(Expression node) const;
  Operand Make(ExpressionKind kind, ExpressionPtr first, ExpressionPtr second = nullptr) const;

  TokenStream& stream_;
  int depth_ = 0;  // of this parser's own recursion
};

}  // namespace r1::jinja
