// Access and arithmetic: what Python's operators do with each kind of value.

#include <cmath>
#include <limits>
#include <utility>

#include "common/jinja/builtins.h"
#include "common/jinja/python_text.h"

namespace r1::jinja {
namespace {

std::string ObjectName(const Value& value) {  // as Jinja names it
  return value.is(Kind::kNone) ? "None" : absl::StrCat(value.TypeName(), " object");
}

Value NoAttribute(const Value& value, absl::string_view name) {
  return Value::Undefined(absl::StrCat("'", ObjectName(value), "' has no attribute '", name, "'"));
}

absl::Status Overflow() {
  return absl::InvalidArgumentError("an integer does not fit 64 bits, which is not supported");
}

absl::Status Unsupported(absl::string_view name, const Value& left, const Value& right) {
  R1_RETURN_IF_ERROR(CheckDefined(left));
  R1_RETURN_IF_ERROR(CheckDefined(right));
  return absl::InvalidArgumentError(absl::StrCat("unsupported operand type(s) for ", name, ": '",
                                                 left.TypeName(), "' and '", right.TypeName(),
                                                 "'"));
}

int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

double FloatModulo(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0) return std::copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

// Floor division as Python's floats have it, exact where a / b is not.
double FloatFloorDivide(double a, double b) {
  const double quotient = (a - FloatModulo(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return Overflow();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return Overflow();
  }
  return Value::Integer(result);
}

absl::StatusOr<Value> IntegerOperator(absl::string_view name, int64_t a, int64_t b) {
  int64_t result = 0;
  if (name == "+") {
    if (__builtin_add_overflow(a, b, &result)) return Overflow();
    return Value::Integer(result);
  }
  if (name == "-") {
    if (__builtin_sub_overflow(a, b, &result)) return Overflow();
    return Value::Integer(result);
  }
  if (name == "*") {
    if (__builtin_mul_overflow(a, b, &result)) return Overflow();
    return Value::Integer(result);
  }
  if (name == "**") {
    if (b >= 0) return IntegerPower(a, b);
    if (a == 0) return absl::InvalidArgumentError("0 to a negative power");
    return Value::Float(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (b == 0) return absl::InvalidArgumentError("division by zero");
  if (name == "/") return Value::Float(static_cast<double>(a) / static_cast<double>(b));
  if (a == std::numeric_limits<int64_t>::min() && b == -1) return Overflow();
  if (name == "//") return Value::Integer(FloorDivide(a, b));
  return Value::Integer(a - FloorDivide(a, b) * b);
}

absl::StatusOr<Value> FloatOperator(absl::string_view name, double a, double b) {
  if (name == "+") return Value::Float(a + b);
  if (name == "-") return Value::Float(a - b);
  if (name == "*") return Value::Float(a * b);
  if (name == "**") {
    if (a < 0 && b != std::floor(b)) {
      return absl::InvalidArgumentError("complex numbers are not supported");
    }
    if (a == 0 && b < 0) return absl::InvalidArgumentError("0.0 to a negative power");
    return Value::Float(std::pow(a, b));
  }
  if (b == 0) return absl::InvalidArgumentError("float division by zero");
  if (name == "/") return Value::Float(a / b);
  return Value::Float(name == "//" ? FloatFloorDivide(a, b) : FloatModulo(a, b));
}

// A string or list `count` times.
absl::StatusOr<Value> Repeat(const Value& value, int64_t count, Context& context) {
  const bool is_string = value.is(Kind::kString);
  const size_t size = is_string ? value.text().size() : value.list().elements.size();
  if (size == 0 || count <= 0) count = 0;
  // Asked for one by one, so that no product can overflow.
  Text text;
  std::vector<Value> elements;
  for (int64_t i = 0; i < count; ++i) {
    R1_RETURN_IF_ERROR(context.budget.Spend(1 + size * (is_string ? 1 : sizeof(Value))));
    if (is_string) {
      text.Append(value.text());
    } else {
      const std::vector<Value>& some = value.list().elements;
      elements.insert(elements.end(), some.begin(), some.end());
    }
  }
  if (is_string) return Value::String(std::move(text));
  return MakeList(std::move(elements), value.list().type);
}

bool IsSequence(const Value& value) {
  return value.is(Kind::kString) ||
         (value.is(Kind::kList) && value.list().type != List::Type::kGenerator);
}

}  // namespace

absl::StatusOr<Value> ApplyOperator(absl::string_view name, const Value& left, const Value& right,
                                    Context& context) {
  if (left.is_integer() && right.is_integer()) {
    return IntegerOperator(name, left.integer(), right.integer());
  }
  if (left.is_number() && right.is_number()) {
    return FloatOperator(name, left.number(), right.number());
  }
  if (name == "+" && left.is(Kind::kString) && right.is(Kind::kString)) {
    Text text = left.text();
    R1_RETURN_IF_ERROR(context.budget.Spend(text.size() + right.text().size()));
    text.Append(right.text());
    return Value::String(std::move(text));
  }
  if (name == "+" && IsSequence(left) && IsSequence(right) && left.is(Kind::kList) &&
      right.is(Kind::kList) && left.list().type == right.list().type) {
    std::vector<Value> elements = left.list().elements;
    const std::vector<Value>& more = right.list().elements;
    R1_RETURN_IF_ERROR(context.budget.Spend(sizeof(Value) * (elements.size() + more.size())));
    elements.insert(elements.end(), more.begin(), more.end());
    return MakeList(std::move(elements), left.list().type);
  }
  if (name == "*" && IsSequence(left) && right.is_integer()) {
    return Repeat(left, right.integer(), context);
  }
  if (name == "*" && IsSequence(right) && left.is_integer()) {
    return Repeat(right, left.integer(), context);
  }
  if (name == "%" && left.is(Kind::kString)) {
    return absl::InvalidArgumentError("formatting with % is not supported");
  }
  if (name == "+" && left.is(Kind::kString) && !right.is(Kind::kUndefined)) {
    return absl::InvalidArgumentError(
        absl::StrCat("can only concatenate str (not \"", right.TypeName(), "\") to str"));
  }
  return Unsupported(name, left, right);
}

absl::StatusOr<bool> Contains(const Value& container, const Value& value, Context& context) {
  if (container.is(Kind::kString)) {
    R1_RETURN_IF_ERROR(CheckDefined(value));
    if (!value.is(Kind::kString)) {
      return absl::InvalidArgumentError(
          absl::StrCat("'in <string>' requires string as left operand, not ", value.TypeName()));
    }
    R1_RETURN_IF_ERROR(context.budget.Spend(container.text().size() + value.text().size()));
    return absl::string_view(container.text().bytes()).find(value.text().bytes()) !=
           absl::string_view::npos;
  }
  if (container.is(Kind::kDict) && value.is(Kind::kString)) {
    return container.dict().FindOrNull(value.text().bytes()) != nullptr;
  }
  R1_ASSIGN_OR_RETURN(const std::vector<Value> elements, Iterate(container, context.budget));
  for (const Value& element : elements) {
    R1_ASSIGN_OR_RETURN(const bool same, Equal(element, value, context.budget));
    if (same) return true;
  }
  return false;
}

absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name) {
  R1_RETURN_IF_ERROR(CheckDefined(value));
  if (HasMethod(value, name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("method ", name, " of a ", value.TypeName(), " can only be called"));
  }
  if (value.is(Kind::kDict)) {
    if (const Value* found = value.dict().FindOrNull(name)) return *found;
  }
  return NoAttribute(value, name);
}

absl::StatusOr<Value> GetItem(const Value& value, const Value& key, Context& context) {
  R1_RETURN_IF_ERROR(CheckDefined(value));
  if (value.is(Kind::kDict)) {
    if (key.is(Kind::kString)) {
      if (const Value* found = value.dict().FindOrNull(key.text().bytes())) return *found;
    } else {
      for (const auto& [candidate, item] : value.dict().entries) {
        R1_ASSIGN_OR_RETURN(const bool same, Equal(candidate, key, context.budget));
        if (same) return item;
      }
    }
  }
  if (key.is(Kind::kString)) return GetAttribute(value, key.text().bytes());
  if (IsSequence(value) && key.is_integer()) {
    const bool is_string = value.is(Kind::kString);
    if (is_string) R1_RETURN_IF_ERROR(context.budget.Spend(value.text().size()));
    const auto size = static_cast<int64_t>(is_string ? CountCharacters(value.text().bytes())
                                                     : value.list().elements.size());
    const int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
    if (index >= 0 && index < size) {
      if (!is_string) return value.list().elements[static_cast<size_t>(index)];
      size_t at = 0;
      for (int64_t i = 0; i < index; ++i) at = NextCharacter(value.text().bytes(), at);
      return Value::String(value.text().Slice(at, NextCharacter(value.text().bytes(), at)));
    }
  }
  const absl::StatusOr<Text> shown = ToText(key, context.budget);
  return Value::Undefined(absl::StrCat(ObjectName(value), " has no element ",
                                       shown.ok() ? shown->bytes().substr(0, 80) : "of that key"));
}

}  // namespace r1::jinja
