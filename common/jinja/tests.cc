// Jinja's tests: "value is name(argument)".

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/jinja/builtins.h"

namespace r1::jinja {
namespace {

using Test = absl::StatusOr<bool> (*)(const Value& value, const Value& argument, Context& context);

absl::StatusOr<bool> IsDivisible(const Value& value, const Value& by, Context& context) {
  R1_ASSIGN_OR_RETURN(const Value rest, ApplyOperator("%", value, by, context));
  return Equal(rest, Value::Integer(0), context.budget);
}

absl::StatusOr<bool> LessOrEqual(const Value& a, const Value& b, Context& context) {
  R1_ASSIGN_OR_RETURN(const bool less, Less(a, b, context.budget));
  if (less) return true;
  return Equal(a, b, context.budget);
}

bool IsIterable(const Value& value) {
  return value.is(Kind::kString) || value.is(Kind::kList) || value.is(Kind::kDict) ||
         value.is(Kind::kUndefined);
}

struct NamedTest {
  absl::string_view name;
  bool takes_argument;
  Test test;
};

constexpr auto kEqual = [](const Value& a, const Value& b, Context& c) -> absl::StatusOr<bool> {
  return Equal(a, b, c.budget);
};
constexpr auto kUnequal = [](const Value& a, const Value& b, Context& c) -> absl::StatusOr<bool> {
  R1_ASSIGN_OR_RETURN(const bool same, Equal(a, b, c.budget));
  return !same;
};
constexpr auto kLess = [](const Value& a, const Value& b, Context& c) -> absl::StatusOr<bool> {
  return Less(a, b, c.budget);
};
constexpr auto kLessOrEqual = [](const Value& a, const Value& b, Context& c) {
  return LessOrEqual(a, b, c);
};
constexpr auto kGreater = [](const Value& a, const Value& b, Context& c) -> absl::StatusOr<bool> {
  return Less(b, a, c.budget);
};
constexpr auto kGreaterOrEqual = [](const Value& a, const Value& b, Context& c) {
  return LessOrEqual(b, a, c);
};

// None, true, false and small values are themselves wherever they are; lists and dicts are the same
// object only when they share their storage, which is not told apart from equality here.
constexpr auto kSame = [](const Value& a, const Value& b, Context& c) -> absl::StatusOr<bool> {
  if (a.kind() != b.kind()) return false;
  return Equal(a, b, c.budget);
};

template <Kind kKind>
absl::StatusOr<bool> IsOf(const Value& value, const Value&, Context&) {
  return value.is(kKind);
}

constexpr NamedTest kTests[] = {
    {"defined", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> {
       return !v.is(Kind::kUndefined);
     }},
    {"undefined", false, IsOf<Kind::kUndefined>},
    {"none", false, IsOf<Kind::kNone>},
    {"boolean", false, IsOf<Kind::kBool>},
    {"string", false, IsOf<Kind::kString>},
    {"mapping", false, IsOf<Kind::kDict>},
    {"float", false, IsOf<Kind::kFloat>},
    {"true", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> {
       return v.is(Kind::kBool) && v.boolean();
     }},
    {"false", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> {
       return v.is(Kind::kBool) && !v.boolean();
     }},
    {"integer", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> {
       return v.is(Kind::kInteger) || v.is(Kind::kBigInteger);
     }},
    {"number", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> {
       return v.is_number() || v.is(Kind::kBigInteger);
     }},
    {"iterable", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> { return IsIterable(v); }},
    {"sequence", false,
     [](const Value& v, const Value&, Context&) -> absl::StatusOr<bool> {
       return IsIterable(v) && !(v.is(Kind::kList) && v.list().type == List::Type::kGenerator);
     }},
    {"callable", false, IsOf<Kind::kObject>},
    {"odd", false,
     [](const Value& v, const Value&, Context& c) -> absl::StatusOr<bool> {
       R1_ASSIGN_OR_RETURN(const bool even, IsDivisible(v, Value::Integer(2), c));
       return !even;
     }},
    {"even", false,
     [](const Value& v, const Value&, Context& c) { return IsDivisible(v, Value::Integer(2), c); }},
    {"divisibleby", true, IsDivisible},
    {"in", true,
     [](const Value& v, const Value& container, Context& c) { return Contains(container, v, c); }},
    {"sameas", true, kSame},
    {"eq", true, kEqual},
    {"equalto", true, kEqual},
    {"==", true, kEqual},
    {"ne", true, kUnequal},
    {"!=", true, kUnequal},
    {"lt", true, kLess},
    {"lessthan", true, kLess},
    {"<", true, kLess},
    {"le", true, kLessOrEqual},
    {"<=", true, kLessOrEqual},
    {"gt", true, kGreater},
    {"greaterthan", true, kGreater},
    {">", true, kGreater},
    {"ge", true, kGreaterOrEqual},
    {">=", true, kGreaterOrEqual},
};

const NamedTest* FindOrNull(absl::string_view name) {
  const auto found = std::find_if(std::begin(kTests), std::end(kTests),
                                  [name](const NamedTest& test) { return test.name == name; });
  return found == std::end(kTests) ? nullptr : &*found;
}

}  // namespace

bool IsTest(absl::string_view name) { return FindOrNull(name) != nullptr; }

absl::StatusOr<bool> ApplyTest(absl::string_view name, const Value& value,
                               const Arguments& arguments, Context& context) {
  const NamedTest* test = FindOrNull(name);
  if (test == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("test ", name, " is not supported"));
  }
  if (arguments.positional.size() != (test->takes_argument ? 1 : 0) || !arguments.keyword.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "test ", name, ": expected ", test->takes_argument ? "one" : "no", " argument"));
  }
  return test->test(value, test->takes_argument ? arguments.positional[0] : Value(), context);
}

}  // namespace r1::jinja
