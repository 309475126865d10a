#include "common/jinja/interpreter.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_map.h"
#include "common/jinja/builtins.h"
#include "common/jinja/python_text.h"

namespace r1::jinja {
namespace {

// Statements, expressions and macro calls inside each other while they run: about 1 KB of stack
// each.
constexpr int kRunDepthMax = 600;

struct Namespace : Object {
  Namespace() : Object(Type::kNamespace) {}
  absl::flat_hash_map<std::string, Value> attributes;
};

struct Loop : Object {
  Loop() : Object(Type::kLoop) {}
  std::vector<Value> elements;
  size_t index = 0;
};

struct Macro : Object {
  explicit Macro(const Statement& definition) : Object(Type::kMacro), definition(definition) {}
  const Statement& definition;
};

struct Function : Object {
  explicit Function(absl::string_view name) : Object(Type::kFunction), name(name) {}
  const absl::string_view name;
};

// Variables of the template, of a loop's round, of a macro's call. Reading looks outwards, writing
// does not.
struct Scope {
  Scope* outer = nullptr;
  absl::flat_hash_map<absl::string_view, Value> variables;
};

// What a body asks of the loop around it.
enum class Flow { kNext, kBreak, kContinue };

Value LoopAttribute(const Loop& loop, absl::string_view name) {
  const auto index = static_cast<int64_t>(loop.index);
  const auto length = static_cast<int64_t>(loop.elements.size());
  if (name == "index") return Value::Integer(index + 1);
  if (name == "index0") return Value::Integer(index);
  if (name == "revindex") return Value::Integer(length - index);
  if (name == "revindex0") return Value::Integer(length - index - 1);
  if (name == "first") return Value::Bool(index == 0);
  if (name == "last") return Value::Bool(index + 1 == length);
  if (name == "length") return Value::Integer(length);
  if (name == "depth") return Value::Integer(1);
  if (name == "depth0") return Value::Integer(0);
  if (name == "previtem") {
    if (index == 0) return Value::Undefined("there is no previous item");
    return loop.elements[loop.index - 1];
  }
  if (name == "nextitem") {
    if (index + 1 == length) return Value::Undefined("there is no next item");
    return loop.elements[loop.index + 1];
  }
  return Value::Undefined(absl::StrCat("'LoopContext object' has no attribute '", name, "'"));
}

class Interpreter {
 public:
  Interpreter(const Dict& variables, const RenderOptions& options, Budget& budget)
      : variables_(variables),
        options_(options),
        budget_(budget),
        context_{budget, options.now, options.time_zone} {
    for (const absl::string_view name :
         {"range", "dict", "namespace", "raise_exception", "strftime_now"}) {
      objects_.push_back(std::make_unique<Function>(name));
      functions_.emplace(name, Value::Of(objects_.back().get()));
    }
  }

  absl::StatusOr<Text> Run(const Body& body) {
    Text output;
    R1_RETURN_IF_ERROR(Execute(body, root_, output).status());
    return output;
  }

 private:
  // Counts what is inside each other on the stack.
  absl::Status Enter() {
    if (depth_ >= kRunDepthMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the template runs deeper than ", kRunDepthMax, " levels"));
    }
    ++depth_;
    return budget_.Spend(1);
  }
  auto Leave() {
    return absl::MakeCleanup([this] { --depth_; });
  }

  absl::Status Emit(const Text& text, Text& output) {
    if (output.size() + text.size() > options_.output_bytes_max) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the template writes more than its limit of ", options_.output_bytes_max, " bytes"));
    }
    R1_RETURN_IF_ERROR(budget_.Spend(text.size()));
    output.Append(text);
    return absl::OkStatus();
  }

  // --- Statements ---

  absl::StatusOr<Flow> Execute(const Body& body, Scope& scope, Text& output) {
    for (const Statement& statement : body) {
      R1_ASSIGN_OR_RETURN(const Flow flow, Execute(statement, scope, output));
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  absl::StatusOr<Flow> Execute(const Statement& statement, Scope& scope, Text& output) {
    R1_RETURN_IF_ERROR(Enter());
    const auto leave = Leave();
    switch (statement.kind) {
      case StatementKind::kText:
        R1_RETURN_IF_ERROR(Emit(Text(statement.text, false), output));
        return Flow::kNext;
      case StatementKind::kOutput: {
        R1_ASSIGN_OR_RETURN(const Value value, EvaluateAt(statement.expressions[0], scope));
        const absl::StatusOr<Text> text = ToText(value, budget_);
        R1_RETURN_IF_ERROR(At(statement.line, text.status()));
        R1_RETURN_IF_ERROR(Emit(*text, output));
        return Flow::kNext;
      }
      case StatementKind::kIf:
        return ExecuteIf(statement, scope, output);
      case StatementKind::kFor:
        return ExecuteFor(statement, scope, output);
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
      case StatementKind::kScope:
        return ExecuteWith(statement, scope, output);
      case StatementKind::kWith:
        return ExecuteWith(statement, scope, output);
      case StatementKind::kFilter: {
        R1_ASSIGN_OR_RETURN(const Value value, Capture(statement, scope));
        R1_ASSIGN_OR_RETURN(const Text text, ToText(value, budget_));
        R1_RETURN_IF_ERROR(Emit(text, output));
        return Flow::kNext;
      }
      case StatementKind::kSet: {
        R1_ASSIGN_OR_RETURN(Value value, EvaluateAt(statement.expressions[0], scope));
        R1_RETURN_IF_ERROR(At(statement.line, Assign(statement.target, std::move(value), scope)));
        return Flow::kNext;
      }
      case StatementKind::kSetBlock: {
        R1_ASSIGN_OR_RETURN(Value value, Capture(statement, scope));
        R1_RETURN_IF_ERROR(At(statement.line, Assign(statement.target, std::move(value), scope)));
        return Flow::kNext;
      }
      case StatementKind::kMacro:
        objects_.push_back(std::make_unique<Macro>(statement));
        scope.variables[statement.text] = Value::Of(objects_.back().get());
        return Flow::kNext;
    }
    CheckFailed(__FILE__, __LINE__, "kind is a StatementKind");
  }

  absl::StatusOr<Flow> ExecuteIf(const Statement& statement, Scope& scope, Text& output) {
    for (size_t i = 0; i < statement.bodies.size(); ++i) {
      bool taken = i >= statement.expressions.size();  // the else branch
      if (!taken) {
        R1_ASSIGN_OR_RETURN(const Value condition, EvaluateAt(statement.expressions[i], scope));
        taken = condition.Truth();
      }
      if (taken) return Execute(statement.bodies[i], scope, output);
    }
    return Flow::kNext;
  }

  absl::StatusOr<Flow> ExecuteFor(const Statement& statement, Scope& scope, Text& output) {
    R1_ASSIGN_OR_RETURN(const Value iterable, EvaluateAt(statement.expressions[0], scope));
    absl::StatusOr<std::vector<Value>> elements = Iterate(iterable, budget_);
    R1_RETURN_IF_ERROR(At(statement.line, elements.status()));
    auto owned = std::make_unique<Loop>();
    Loop& loop = *owned;
    for (Value& element : *elements) {
      Scope round{.outer = &scope, .variables = {}};
      R1_RETURN_IF_ERROR(At(statement.line, Assign(statement.target, element, round)));
      bool kept = true;
      if (statement.expressions[1] != nullptr) {
        R1_ASSIGN_OR_RETURN(const Value condition, EvaluateAt(statement.expressions[1], round));
        kept = condition.Truth();
      }
      if (kept) loop.elements.push_back(std::move(element));
    }
    R1_RETURN_IF_ERROR(budget_.Spend(sizeof(Loop)));
    objects_.push_back(std::move(owned));
    for (loop.index = 0; loop.index < loop.elements.size(); ++loop.index) {
      Scope round{.outer = &scope, .variables = {}};
      R1_RETURN_IF_ERROR(Assign(statement.target, loop.elements[loop.index], round));
      round.variables["loop"] = Value::Of(&loop);
      R1_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.bodies[0], round, output));
      if (flow == Flow::kBreak) break;
    }
    if (loop.elements.empty() && statement.bodies.size() > 1) {
      Scope otherwise{.outer = &scope, .variables = {}};
      return Execute(statement.bodies[1], otherwise, output);
    }
    return Flow::kNext;
  }

  // Values are computed outside of the scope that they are seen in.
  absl::StatusOr<Flow> ExecuteWith(const Statement& statement, Scope& scope, Text& output) {
    Scope inner{.outer = &scope, .variables = {}};
    for (size_t i = 0; i < statement.expressions.size(); ++i) {
      R1_ASSIGN_OR_RETURN(inner.variables[statement.target.names[i]],
                          EvaluateAt(statement.expressions[i], scope));
    }
    return Execute(statement.bodies[0], inner, output);
  }

  // What the body writes, through the filters.
  absl::StatusOr<Value> Capture(const Statement& statement, Scope& scope) {
    Scope inner{.outer = &scope, .variables = {}};
    Text text;
    R1_RETURN_IF_ERROR(Execute(statement.bodies[0], inner, text).status());
    Value value = Value::String(std::move(text));
    if (statement.expressions[0] == nullptr) return value;
    captured_.push_back(std::move(value));
    const absl::Cleanup drop = [this] { captured_.pop_back(); };
    return EvaluateAt(statement.expressions[0], scope);
  }

  absl::Status Assign(const Target& target, Value value, Scope& scope) {
    if (!target.attribute.empty()) {
      const Value space = Lookup(target.names[0], scope);
      if (!space.is(Kind::kObject) || space.object().type != Object::Type::kNamespace) {
        return absl::InvalidArgumentError(
            absl::StrCat("cannot assign attribute on non-namespace object ", target.names[0]));
      }
      static_cast<Namespace&>(space.object()).attributes[target.attribute] = std::move(value);
      return absl::OkStatus();
    }
    if (!target.is_tuple) {
      scope.variables[target.names[0]] = std::move(value);
      return absl::OkStatus();
    }
    R1_RETURN_IF_ERROR(CheckDefined(value));
    R1_ASSIGN_OR_RETURN(std::vector<Value> elements, Iterate(value, budget_));
    if (elements.size() != target.names.size()) {
      return absl::InvalidArgumentError(absl::StrCat("expected ", target.names.size(),
                                                     " values to unpack, found ", elements.size()));
    }
    for (size_t i = 0; i < elements.size(); ++i) {
      scope.variables[target.names[i]] = std::move(elements[i]);
    }
    return absl::OkStatus();
  }

  // --- Expressions ---

  // The line belongs to the innermost statement of each template part that failed.
  static absl::Status At(int line, const absl::Status& status) {
    return Annotate(status, absl::StrCat("line ", line));
  }
  absl::StatusOr<Value> EvaluateAt(const ExpressionPtr& expression, Scope& scope) {
    absl::StatusOr<Value> value = Evaluate(*expression, scope);
    if (!value.ok()) return At(expression->line, value.status());
    return value;
  }

  Value Lookup(const std::string& name, Scope& scope) {
    for (const Scope* at = &scope; at != nullptr; at = at->outer) {
      const auto found = at->variables.find(name);
      if (found != at->variables.end()) return found->second;
    }
    if (const Value* given = variables_.FindOrNull(name)) return *given;
    const auto function = functions_.find(name);
    if (function != functions_.end()) return function->second;
    return Value::Undefined(absl::StrCat("'", name, "' is undefined"));
  }

  absl::StatusOr<Value> Evaluate(const Expression& node, Scope& scope) {
    R1_RETURN_IF_ERROR(Enter());
    const auto leave = Leave();
    switch (node.kind) {
      case ExpressionKind::kConstant:
        return node.value;
      case ExpressionKind::kName:
        return Lookup(node.name, scope);
      case ExpressionKind::kAttribute: {
        R1_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0], scope));
        return AttributeOf(value, node.name);
      }
      case ExpressionKind::kItem: {
        R1_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0], scope));
        R1_ASSIGN_OR_RETURN(const Value key, Evaluate(*node.operands[1], scope));
        if (value.is(Kind::kObject) && key.is(Kind::kString)) {
          return AttributeOf(value, key.text().bytes());
        }
        return GetItem(value, key, context_);
      }
      case ExpressionKind::kSlice:
        return EvaluateSlice(node, scope);
      case ExpressionKind::kList:
      case ExpressionKind::kTuple: {
        R1_ASSIGN_OR_RETURN(std::vector<Value> elements, EvaluateAll(node, 0, scope));
        return MakeList(std::move(elements), node.kind == ExpressionKind::kList
                                                 ? List::Type::kList
                                                 : List::Type::kTuple);
      }
      case ExpressionKind::kDict: {
        R1_ASSIGN_OR_RETURN(std::vector<Value> flat, EvaluateAll(node, 0, scope));
        std::vector<std::pair<Value, Value>> entries;
        for (size_t i = 0; i < flat.size(); i += 2) {
          entries.emplace_back(std::move(flat[i]), std::move(flat[i + 1]));
        }
        return MakeDict(std::move(entries), budget_);
      }
      case ExpressionKind::kAnd:
      case ExpressionKind::kOr: {
        R1_ASSIGN_OR_RETURN(Value left, Evaluate(*node.operands[0], scope));
        if (left.Truth() == (node.kind == ExpressionKind::kOr)) return left;
        return Evaluate(*node.operands[1], scope);
      }
      case ExpressionKind::kConditional: {
        R1_ASSIGN_OR_RETURN(const Value condition, Evaluate(*node.operands[0], scope));
        if (condition.Truth()) return Evaluate(*node.operands[1], scope);
        if (node.operands[2] != nullptr) return Evaluate(*node.operands[2], scope);
        return Value::Undefined(
            "the inline if-expression evaluated to false and no else section was defined");
      }
      case ExpressionKind::kNot:
      case ExpressionKind::kNegative:
      case ExpressionKind::kPositive:
        return EvaluateUnary(node, scope);
      case ExpressionKind::kBinary: {
        R1_ASSIGN_OR_RETURN(const Value left, Evaluate(*node.operands[0], scope));
        R1_ASSIGN_OR_RETURN(const Value right, Evaluate(*node.operands[1], scope));
        return ApplyOperator(node.name, left, right, context_);
      }
      case ExpressionKind::kCompare:
        return EvaluateCompare(node, scope);
      case ExpressionKind::kConcat:
        return EvaluateConcat(node, scope);
      case ExpressionKind::kCall:
        return EvaluateCall(node, scope);
      case ExpressionKind::kFilter:
      case ExpressionKind::kTest:
        return EvaluateFilterOrTest(node, scope);
    }
    CheckFailed(__FILE__, __LINE__, "kind is an ExpressionKind");
  }

  absl::StatusOr<std::vector<Value>> EvaluateAll(const Expression& node, size_t first,
                                                 Scope& scope) {
    std::vector<Value> values;
    for (size_t i = first; i < node.operands.size(); ++i) {
      R1_ASSIGN_OR_RETURN(Value value, Evaluate(*node.operands[i], scope));
      values.push_back(std::move(value));
    }
    R1_RETURN_IF_ERROR(budget_.Spend(sizeof(Value) * values.size()));
    return values;
  }

  absl::StatusOr<Value> AttributeOf(const Value& value, absl::string_view name) {
    if (!value.is(Kind::kObject)) return GetAttribute(value, name);
    if (value.object().type == Object::Type::kLoop) {
      return LoopAttribute(static_cast<const Loop&>(value.object()), name);
    }
    if (value.object().type == Object::Type::kNamespace) {
      const auto& attributes = static_cast<const Namespace&>(value.object()).attributes;
      const auto found = attributes.find(name);
      if (found != attributes.end()) return found->second;
    }
    return Value::Undefined(
        absl::StrCat("'", value.TypeName(), " object' has no attribute '", name, "'"));
  }

  absl::StatusOr<Value> EvaluateUnary(const Expression& node, Scope& scope) {
    R1_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0], scope));
    if (node.kind == ExpressionKind::kNot) return Value::Bool(!value.Truth());
    R1_RETURN_IF_ERROR(CheckDefined(value));
    if (!value.is_number()) {
      return absl::InvalidArgumentError(
          absl::StrCat("bad operand type for a sign: '", value.TypeName(), "'"));
    }
    if (node.kind == ExpressionKind::kPositive) {
      return value.is(Kind::kFloat) ? value : Value::Integer(value.integer());
    }
    if (value.is(Kind::kFloat)) return Value::Float(-value.number());
    return ApplyOperator("-", Value::Integer(0), value, context_);
  }

  absl::StatusOr<Value> EvaluateCompare(const Expression& node, Scope& scope) {
    R1_ASSIGN_OR_RETURN(Value left, Evaluate(*node.operands[0], scope));
    for (size_t i = 0; i < node.words.size(); ++i) {
      R1_ASSIGN_OR_RETURN(Value right, Evaluate(*node.operands[i + 1], scope));
      R1_ASSIGN_OR_RETURN(const bool holds, Compare(node.words[i], left, right));
      if (!holds) return Value::Bool(false);
      left = std::move(right);
    }
    return Value::Bool(true);
  }

  absl::StatusOr<bool> Compare(const std::string& word, const Value& left, const Value& right) {
    if (word == "in" || word == "not in") {
      R1_ASSIGN_OR_RETURN(const bool contains, Contains(right, left, context_));
      return contains == (word == "in");
    }
    if (word == "==" || word == "!=") {
      R1_ASSIGN_OR_RETURN(const bool same, Equal(left, right, budget_));
      return same == (word == "==");
    }
    const bool swapped = word[0] == '>';
    R1_ASSIGN_OR_RETURN(const bool less,
                        swapped ? Less(right, left, budget_) : Less(left, right, budget_));
    if (less || word.size() == 1) return less;
    return Equal(left, right, budget_);
  }

  absl::StatusOr<Value> EvaluateConcat(const Expression& node, Scope& scope) {
    R1_ASSIGN_OR_RETURN(const std::vector<Value> values, EvaluateAll(node, 0, scope));
    Text text;
    for (const Value& value : values) {
      R1_ASSIGN_OR_RETURN(const Text piece, ToText(value, budget_));
      R1_RETURN_IF_ERROR(budget_.Spend(piece.size()));
      text.Append(piece);
    }
    return Value::String(std::move(text));
  }

  // Python's slice of `size` elements: the places of those that it takes.
  absl::StatusOr<Value> EvaluateSlice(const Expression& node, Scope& scope) {
    R1_ASSIGN_OR_RETURN(const Value value, Evaluate(*node.operands[0], scope));
    R1_RETURN_IF_ERROR(CheckDefined(value));
    const bool sliced = value.is(Kind::kString) ||
                        (value.is(Kind::kList) && value.list().type != List::Type::kGenerator);
    if (!sliced) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", value.TypeName(), "' object cannot be sliced"));
    }
    std::optional<int64_t> bounds[3];
    for (size_t i = 0; i < 3; ++i) {
      if (node.operands[i + 1] == nullptr) continue;
      R1_ASSIGN_OR_RETURN(const Value bound, Evaluate(*node.operands[i + 1], scope));
      if (bound.is(Kind::kNone)) continue;
      if (!bound.is_integer()) {
        return absl::InvalidArgumentError("slice indices must be integers or None");
      }
      bounds[i] = bound.integer();
    }
    R1_ASSIGN_OR_RETURN(const std::vector<Value> elements, Iterate(value, budget_));
    const auto size = static_cast<int64_t>(elements.size());
    const int64_t step = bounds[2].value_or(1);
    if (step == 0) return absl::InvalidArgumentError("slice step cannot be zero");
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
    const auto place = [&](std::optional<int64_t> bound, int64_t missing) {
      if (!bound.has_value()) return missing;
      return std::clamp(*bound < 0 ? *bound + size : *bound, low, high);
    };
    const int64_t begin = place(bounds[0], step > 0 ? low : high);
    const int64_t end = place(bounds[1], step > 0 ? high : low);
    std::vector<Value> taken;
    for (__int128 i = begin; step > 0 ? i < end : i > end; i += step) {
      taken.push_back(elements[static_cast<size_t>(i)]);
    }
    if (!value.is(Kind::kString)) return MakeList(std::move(taken), value.list().type);
    Text text;
    for (const Value& character : taken) text.Append(character.text());
    return Value::String(std::move(text));
  }

  // --- Calls ---

  absl::StatusOr<Arguments> EvaluateArguments(const Expression& node, Scope& scope) {
    R1_ASSIGN_OR_RETURN(std::vector<Value> values, EvaluateAll(node, 1, scope));
    Arguments arguments;
    const size_t positional = values.size() - node.words.size();
    for (size_t i = 0; i < values.size(); ++i) {
      if (i < positional) {
        arguments.positional.push_back(std::move(values[i]));
      } else {
        arguments.keyword.emplace_back(node.words[i - positional], std::move(values[i]));
      }
    }
    return arguments;
  }

  absl::StatusOr<Value> EvaluateFilterOrTest(const Expression& node, Scope& scope) {
    Value value;
    if (node.operands[0] != nullptr) {
      R1_ASSIGN_OR_RETURN(value, Evaluate(*node.operands[0], scope));
    } else {
      value = captured_.back();
    }
    R1_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node, scope));
    if (node.kind == ExpressionKind::kFilter) {
      return ApplyFilter(node.name, value, arguments, context_);
    }
    R1_ASSIGN_OR_RETURN(const bool passes, ApplyTest(node.name, value, arguments, context_));
    return Value::Bool(passes);
  }

  absl::StatusOr<Value> EvaluateCall(const Expression& node, Scope& scope) {
    const Expression& callee = *node.operands[0];
    if (callee.kind == ExpressionKind::kAttribute) {
      R1_ASSIGN_OR_RETURN(const Value receiver, Evaluate(*callee.operands[0], scope));
      R1_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node, scope));
      if (HasMethod(receiver, callee.name)) {
        return CallMethod(receiver, callee.name, arguments, context_);
      }
      R1_ASSIGN_OR_RETURN(const Value called, AttributeOf(receiver, callee.name));
      return Call(called, arguments, scope);
    }
    R1_ASSIGN_OR_RETURN(const Value called, Evaluate(callee, scope));
    R1_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(node, scope));
    return Call(called, arguments, scope);
  }

  absl::StatusOr<Value> Call(const Value& called, const Arguments& arguments, Scope&) {
    R1_RETURN_IF_ERROR(CheckDefined(called));
    if (called.is(Kind::kObject) && called.object().type == Object::Type::kMacro) {
      return CallMacro(static_cast<const Macro&>(called.object()).definition, arguments);
    }
    if (!called.is(Kind::kObject) || called.object().type != Object::Type::kFunction) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", called.TypeName(), "' object is not callable"));
    }
    const absl::string_view name = static_cast<const Function&>(called.object()).name;
    if (name != "namespace") return CallFunction(name, arguments, context_);
    R1_ASSIGN_OR_RETURN(const Value made, CallFunction("dict", arguments, context_));
    auto space = std::make_unique<Namespace>();
    for (const auto& [key, value] : made.dict().entries) {
      if (!key.is(Kind::kString)) {
        return absl::InvalidArgumentError("namespace: keys must be strings");
      }
      space->attributes.insert_or_assign(key.text().bytes(), value);
    }
    R1_RETURN_IF_ERROR(
        budget_.Spend(sizeof(Namespace) + 2 * sizeof(Value) * space->attributes.size()));
    objects_.push_back(std::move(space));
    return Value::Of(objects_.back().get());
  }

  absl::StatusOr<Value> CallMacro(const Statement& macro, const Arguments& arguments) {
    const std::vector<absl::string_view> names(macro.target.names.begin(),
                                               macro.target.names.end());
    R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind(macro.text, names));
    const size_t first_default = names.size() - macro.expressions.size();
    Scope scope{.outer = &root_, .variables = {}};
    for (size_t i = 0; i < names.size(); ++i) {
      const bool given =
          i < arguments.positional.size() ||
          std::any_of(arguments.keyword.begin(), arguments.keyword.end(),
                      [&](const auto& keyword) { return keyword.first == names[i]; });
      Value value = bound[i];
      if (!given && i >= first_default) {
        R1_ASSIGN_OR_RETURN(value, EvaluateAt(macro.expressions[i - first_default], scope));
      }
      scope.variables[names[i]] = std::move(value);
    }
    Text output;
    R1_RETURN_IF_ERROR(Execute(macro.bodies[0], scope, output).status());
    return Value::String(std::move(output));
  }

  const Dict& variables_;
  const RenderOptions& options_;
  Budget& budget_;
  Context context_;
  absl::flat_hash_map<absl::string_view, Value> functions_;
  std::vector<std::unique_ptr<Object>> objects_;
  std::vector<Value> captured_;  // what filters of blocks that are running are applied to
  Scope root_;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<Text> Render(const Body& body, const Dict& variables, const RenderOptions& options,
                            Budget& budget) {
  return Interpreter(variables, options, budget).Run(body);
}

}  // namespace r1::jinja
