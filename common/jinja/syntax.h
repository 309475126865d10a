// The syntax tree of a template: statements that hold expressions. Plain data, made by the parser
// and walked by the interpreter; its depth is bounded.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/jinja/value.h"

namespace r1::jinja {

enum class ExpressionKind {
  kConstant,   // `value`
  kName,       // `name`
  kAttribute,  // operands[0].name
  kItem,       // operands[0][operands[1]]
  kSlice,      // operands[0][operands[1]:operands[2]:operands[3]], the last three may be null
  kList,
  kTuple,
  kDict,  // key, value, key, value, …
  kNot,
  kNegative,
  kPositive,
  kAnd,
  kOr,
  kBinary,       // operands[0] `name` operands[1], with + - * / // % **
  kCompare,      // operands[0] operators[0] operands[1] operators[1] …
  kConcat,       // ~
  kConditional,  // operands[1] if operands[0] else operands[2], which may be null
  kCall,         // operands[0] is called with the rest
  kFilter,       // operands[0] | name(rest); null operands[0] in {% filter %} and {% set %}
  kTest,         // operands[0] is name(rest)
};

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;

struct Expression {
  ExpressionKind kind;
  int line;
  Value value;
  std::string name;
  std::vector<ExpressionPtr> operands;
  // kCompare: "==", "in", "not in"; of calls, filters and tests: the names of the last operands.
  std::vector<std::string> words;
  int depth = 1;
};

// What {% set %} and {% for %} assign to: a name, a tuple of names, or an attribute of a namespace.
struct Target {
  std::vector<std::string> names;
  bool is_tuple = false;
  std::string attribute;  // of the namespace names[0]; empty for variables
};

enum class StatementKind {
  kText,
  kOutput,    // {{ expressions[0] }}
  kSet,       // target = expressions[0]
  kSetBlock,  // target = bodies[0], through the filters expressions[0] when there are any
  kIf,        // expressions[i] guards bodies[i]; one more body is the else branch
  kFor,       // expressions: iterable, condition or null; bodies: loop, else branch
  kMacro,     // `text` names it; target.names are the parameters, the last of which have defaults
  kWith,      // names of target = expressions, seen in bodies[0]
  kFilter,    // bodies[0] through the filters expressions[0]
  kScope,     // bodies[0] with variables of its own: {% generation %}
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind;
  int line;
  std::string text;
  Target target;
  std::vector<ExpressionPtr> expressions;
  std::vector<std::vector<Statement>> bodies;
};

using Body = std::vector<Statement>;

}  // namespace r1::jinja
