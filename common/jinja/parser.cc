#include "common/jinja/parser.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "common/jinja/expression_parser.h"
#include "common/jinja/lexer.h"
#include "common/jinja/token_stream.h"

namespace r1::jinja {
namespace {

constexpr int kStatementDepthMax = 50;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : stream_(std::move(tokens)), expressions_(stream_) {}

  absl::StatusOr<Body> Run() {
    R1_ASSIGN_OR_RETURN(Body body, ParseBody({}));
    return body;
  }

 private:
  // Statements up to one that begins with one of the words, whose name is then current; up to the
  // end of the template when there are none.
  absl::StatusOr<Body> ParseBody(const std::vector<absl::string_view>& ends) {
    Body body;
    while (!stream_.Is(TokenKind::kEnd)) {
      Statement statement = Begin(StatementKind::kText);
      if (stream_.Is(TokenKind::kText)) {
        statement.text = stream_.Take().text;
      } else if (stream_.Is(TokenKind::kOutputBegin)) {
        stream_.Take();
        statement.kind = StatementKind::kOutput;
        R1_RETURN_IF_ERROR(TakeTuple(statement));
        R1_RETURN_IF_ERROR(stream_.ExpectKind(TokenKind::kOutputEnd, "}}"));
      } else {
        stream_.Take();
        const bool at_end = std::any_of(ends.begin(), ends.end(), [this](absl::string_view end) {
          return stream_.IsName(end);
        });
        if (at_end) return body;
        R1_ASSIGN_OR_RETURN(statement, ParseStatement());
        R1_RETURN_IF_ERROR(stream_.ExpectKind(TokenKind::kStatementEnd, "%}"));
      }
      body.push_back(std::move(statement));
    }
    if (ends.empty()) return body;
    return stream_.Expected(absl::StrCat("{% ", absl::StrJoin(ends, " or "), " %}"));
  }

  // The rest of a tag, the statements behind it, and the words that ends them.
  absl::Status TakeBody(Statement& statement, const std::vector<absl::string_view>& ends) {
    stream_.SkipOperator(":");
    R1_RETURN_IF_ERROR(stream_.ExpectKind(TokenKind::kStatementEnd, "%}"));
    if (++depth_ > kStatementDepthMax) {
      return stream_.Error(
          absl::StrCat("statements are nested deeper than ", kStatementDepthMax, " levels"));
    }
    R1_ASSIGN_OR_RETURN(Body body, ParseBody(ends));
    --depth_;
    statement.bodies.push_back(std::move(body));
    return absl::OkStatus();
  }
  // The same when only one word can end it.
  absl::Status TakeBodyUntil(Statement& statement, absl::string_view end) {
    R1_RETURN_IF_ERROR(TakeBody(statement, {end}));
    return stream_.ExpectName(end);
  }

  Statement Begin(StatementKind kind) const {
    Statement statement;
    statement.kind = kind;
    statement.line = stream_.current().line;
    return statement;
  }
  absl::Status TakeTuple(Statement& statement, bool conditional = true) {
    R1_ASSIGN_OR_RETURN(ExpressionPtr expression, expressions_.ParseTuple(conditional));
    statement.expressions.push_back(std::move(expression));
    return absl::OkStatus();
  }

  absl::StatusOr<Statement> ParseStatement() {
    R1_ASSIGN_OR_RETURN(const std::string name, stream_.ExpectAnyName());
    if (name == "if") return ParseIf();
    if (name == "for") return ParseFor();
    if (name == "set") return ParseSet();
    if (name == "macro") return ParseMacro();
    if (name == "with") return ParseWith();
    if (name == "filter") return ParseFilterBlock();
    if (name == "generation") return ParseGeneration();
    if (name == "break" || name == "continue") {
      if (loops_ == 0) return stream_.Error(absl::StrCat(name, " outside of a loop"));
      return Begin(name == "break" ? StatementKind::kBreak : StatementKind::kContinue);
    }
    return stream_.Error(absl::StrCat("statement ", name, " is unknown or not supported"));
  }

  absl::StatusOr<Statement> ParseIf() {
    Statement statement = Begin(StatementKind::kIf);
    do {
      R1_RETURN_IF_ERROR(TakeTuple(statement, false));
      R1_RETURN_IF_ERROR(TakeBody(statement, {"elif", "else", "endif"}));
    } while (stream_.SkipName("elif"));
    if (stream_.SkipName("else")) {
      R1_RETURN_IF_ERROR(TakeBody(statement, {"endif"}));
    }
    R1_RETURN_IF_ERROR(stream_.ExpectName("endif"));
    return statement;
  }

  absl::StatusOr<Statement> ParseFor() {
    Statement statement = Begin(StatementKind::kFor);
    R1_ASSIGN_OR_RETURN(statement.target, ParseTarget("in"));
    R1_RETURN_IF_ERROR(stream_.ExpectName("in"));
    R1_RETURN_IF_ERROR(TakeTuple(statement, false));
    ExpressionPtr condition;
    if (stream_.SkipName("if")) {
      R1_ASSIGN_OR_RETURN(condition, expressions_.ParseExpression());
    }
    statement.expressions.push_back(std::move(condition));
    if (stream_.IsName("recursive")) return stream_.Error("recursive loops are not supported");
    ++loops_;
    R1_RETURN_IF_ERROR(TakeBody(statement, {"else", "endfor"}));
    --loops_;
    if (stream_.SkipName("else")) {
      R1_RETURN_IF_ERROR(TakeBody(statement, {"endfor"}));
    }
    R1_RETURN_IF_ERROR(stream_.ExpectName("endfor"));
    return statement;
  }

  absl::StatusOr<Statement> ParseSet() {
    Statement statement = Begin(StatementKind::kSet);
    R1_ASSIGN_OR_RETURN(statement.target, ParseTarget(""));
    if (stream_.SkipOperator("=")) {
      R1_RETURN_IF_ERROR(TakeTuple(statement));
      return statement;
    }
    statement.kind = StatementKind::kSetBlock;
    R1_ASSIGN_OR_RETURN(ExpressionPtr filters, stream_.IsOperator("|")
                                                   ? expressions_.ParseFilters(nullptr)
                                                   : absl::StatusOr<ExpressionPtr>(nullptr));
    statement.expressions.push_back(std::move(filters));
    R1_RETURN_IF_ERROR(TakeBodyUntil(statement, "endset"));
    return statement;
  }

  absl::StatusOr<Statement> ParseMacro() {
    Statement statement = Begin(StatementKind::kMacro);
    if (loops_ > 0 || scopes_ > 0) {
      return stream_.Error("macros inside loops, macros and other scopes are not supported");
    }
    R1_ASSIGN_OR_RETURN(statement.text, stream_.ExpectAnyName());
    R1_RETURN_IF_ERROR(stream_.ExpectOperator("("));
    while (!stream_.SkipOperator(")")) {
      if (!statement.target.names.empty()) R1_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      R1_ASSIGN_OR_RETURN(std::string parameter, stream_.ExpectAnyName());
      statement.target.names.push_back(std::move(parameter));
      if (stream_.SkipOperator("=")) {
        R1_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseExpression());
        statement.expressions.push_back(std::move(value));
      } else if (!statement.expressions.empty()) {
        return stream_.Error("a parameter without a default follows one that has one");
      }
    }
    R1_RETURN_IF_ERROR(TakeScope(statement, "endmacro"));
    return statement;
  }

  absl::StatusOr<Statement> ParseWith() {
    Statement statement = Begin(StatementKind::kWith);
    while (!stream_.Is(TokenKind::kStatementEnd)) {
      if (!statement.expressions.empty()) R1_RETURN_IF_ERROR(stream_.ExpectOperator(","));
      R1_ASSIGN_OR_RETURN(std::string name, stream_.ExpectAnyName());
      statement.target.names.push_back(std::move(name));
      R1_RETURN_IF_ERROR(stream_.ExpectOperator("="));
      R1_ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseExpression());
      statement.expressions.push_back(std::move(value));
    }
    R1_RETURN_IF_ERROR(TakeScope(statement, "endwith"));
    return statement;
  }

  absl::StatusOr<Statement> ParseFilterBlock() {
    Statement statement = Begin(StatementKind::kFilter);
    R1_ASSIGN_OR_RETURN(ExpressionPtr filters, expressions_.ParseFilters(nullptr));
    statement.expressions.push_back(std::move(filters));
    R1_RETURN_IF_ERROR(TakeScope(statement, "endfilter"));
    return statement;
  }

  // Marks what the assistant said, for who trains on it; renders as its body.
  absl::StatusOr<Statement> ParseGeneration() {
    Statement statement = Begin(StatementKind::kScope);
    R1_RETURN_IF_ERROR(TakeScope(statement, "endgeneration"));
    return statement;
  }

  // A body in which a loop around it cannot be left, and no macro made.
  absl::Status TakeScope(Statement& statement, absl::string_view end) {
    const int loops = std::exchange(loops_, 0);
    ++scopes_;
    R1_RETURN_IF_ERROR(TakeBodyUntil(statement, end));
    --scopes_;
    loops_ = loops;
    return absl::OkStatus();
  }

  // Names up to `end` or to what cannot belong to them.
  absl::StatusOr<Target> ParseTarget(absl::string_view end) {
    Target target;
    const bool parentheses = stream_.SkipOperator("(");
    while (true) {
      if (target.is_tuple && (stream_.IsName(end) || stream_.IsOperator(")"))) break;
      R1_ASSIGN_OR_RETURN(std::string name, stream_.ExpectAnyName());
      if (name == "true" || name == "false" || name == "none" || name == "True" ||
          name == "False" || name == "None") {
        return stream_.Error(absl::StrCat("cannot assign to ", name));
      }
      target.names.push_back(std::move(name));
      if (end.empty() && !target.is_tuple && stream_.SkipOperator(".")) {
        R1_ASSIGN_OR_RETURN(target.attribute, stream_.ExpectAnyName());
        return target;
      }
      if (!stream_.SkipOperator(",")) break;
      target.is_tuple = true;
    }
    if (parentheses) R1_RETURN_IF_ERROR(stream_.ExpectOperator(")"));
    return target;
  }

  TokenStream stream_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;   // around this place, inside the innermost scope
  int scopes_ = 0;  // around this place
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(absl::string_view source) {
  R1_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace r1::jinja
