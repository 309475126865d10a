// Filters of one value, as Jinja 3.1 has them, and transformers' own tojson.

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "common/jinja/filters.h"
#include "common/jinja/python_text.h"
#include "common/jinja/strings.h"

namespace r1::jinja {
namespace {

constexpr int64_t kIndentMax = 100;
constexpr int64_t kPrecisionMax = 300;

absl::Status Wrong(absl::string_view name, const Value& found, absl::string_view expected) {
  R1_RETURN_IF_ERROR(CheckDefined(found));
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected ", expected, ", found ", found.TypeName()));
}

// Calls a string method on str(value).
absl::StatusOr<Value> AsMethod(absl::string_view method, const Value& value,
                               const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(Text text, ToText(value, context.budget));
  return CallMethod(Value::String(std::move(text)), method, arguments, context);
}

absl::StatusOr<Value> Trim(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                      arguments.Bind("trim", {"chars"}, {Value::None()}));
  return AsMethod("strip", value, {.positional = bound, .keyword = {}}, context);
}

template <const char* kMethod>
absl::StatusOr<Value> ChangeCase(const Value& value, const Arguments& arguments, Context& context) {
  return AsMethod(kMethod, value, arguments, context);
}
constexpr char kUpper[] = "upper", kLower[] = "lower", kCapitalize[] = "capitalize";

absl::StatusOr<Value> ReplaceFilter(const Value& value, const Arguments& arguments,
                                    Context& context) {
  R1_ASSIGN_OR_RETURN(std::vector<Value> bound,
                      arguments.Bind("replace", {"old", "new", "count"},
                                     {Value::None(), Value::None(), Value::None()}));
  for (size_t i = 0; i < 2; ++i) {
    R1_ASSIGN_OR_RETURN(Text text, ToText(bound[i], context.budget));
    bound[i] = Value::String(std::move(text));
  }
  if (bound[2].is(Kind::kNone)) bound[2] = Value::Integer(-1);
  return AsMethod("replace", value, {.positional = bound, .keyword = {}}, context);
}

absl::StatusOr<Value> Default(const Value& value, const Arguments& arguments, Context&) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                      arguments.Bind("default", {"default_value", "boolean"},
                                     {Value::String("", false), Value::Bool(false)}));
  const bool missing = value.is(Kind::kUndefined) || (bound[1].Truth() && !value.Truth());
  return missing ? bound[0] : value;
}

absl::StatusOr<Value> ToString(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("string", {}).status());
  R1_ASSIGN_OR_RETURN(Text text, ToText(value, context.budget));
  return Value::String(std::move(text));
}

absl::StatusOr<Value> Indent(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                      arguments.Bind("indent", {"width", "first", "blank"},
                                     {Value::Integer(4), Value::Bool(false), Value::Bool(false)}));
  if (!value.is(Kind::kString)) return Wrong("indent", value, "a str");
  Text indent;
  if (bound[0].is(Kind::kString)) {
    indent = bound[0].text();
  } else if (bound[0].is_integer() && bound[0].integer() <= kIndentMax) {
    indent.Append(std::string(static_cast<size_t>(std::max<int64_t>(bound[0].integer(), 0)), ' '),
                  false);
  } else {
    return Wrong("indent", bound[0], absl::StrCat("a str or an int of at most ", kIndentMax));
  }
  Text text = value.text();
  text.Append("\n", false);  // so that a last empty line counts
  const std::vector<Text> lines = SplitLines(text, false);
  R1_RETURN_IF_ERROR(context.budget.Spend(text.size() + lines.size() * (1 + indent.size())));
  Text result;
  if (bound[1].Truth()) result.Append(indent);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      result.Append("\n", false);
      if (bound[2].Truth() || lines[i].size() > 0) result.Append(indent);
    }
    result.Append(lines[i]);
  }
  return Value::String(std::move(result));
}

// json.dumps with the arguments that transformers passes on.
absl::StatusOr<Value> ToJsonFilter(const Value& value, const Arguments& arguments,
                                   Context& context) {
  R1_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      arguments.Bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"},
                     {Value::Bool(false), Value::None(), Value::None(), Value::Bool(false)}));
  JsonOptions options;
  options.ensure_ascii = bound[0].Truth();
  options.sort_keys = bound[3].Truth();
  if (bound[1].is(Kind::kString)) {
    options.indented = true;
    options.indent = bound[1].text().bytes();
  } else if (bound[1].is_integer() && bound[1].integer() <= kIndentMax) {
    options.indented = true;
    options.indent =
        std::string(static_cast<size_t>(std::max<int64_t>(bound[1].integer(), 0)), ' ');
  } else if (!bound[1].is(Kind::kNone)) {
    return Wrong("tojson: indent", bound[1], absl::StrCat("an int of at most ", kIndentMax));
  }
  if (options.indented) options.item_separator.pop_back();  // no space before a line break
  if (!bound[2].is(Kind::kNone)) {
    R1_ASSIGN_OR_RETURN(const std::vector<Value> separators, Iterate(bound[2], context.budget));
    if (separators.size() != 2 || !separators[0].is(Kind::kString) ||
        !separators[1].is(Kind::kString)) {
      return Wrong("tojson: separators", bound[2], "two strings");
    }
    options.item_separator = separators[0].text().bytes();
    options.key_separator = separators[1].text().bytes();
  }
  R1_ASSIGN_OR_RETURN(Text json, ToJson(value, options, context.budget));
  return Value::String(std::move(json));
}

// float(text) and int(text) of Python for ordinary decimal numbers.
std::optional<double> ParseFloat(const Text& text) {
  const std::string digits = Strip(text, Side::kBoth, std::nullopt).bytes();
  double value = 0;
  if (absl::StrContains(absl::AsciiStrToLower(digits), "0x")) return std::nullopt;
  if (!absl::SimpleAtod(digits, &value)) return std::nullopt;
  return value;
}
std::optional<int64_t> ParseInteger(const Text& text) {
  const std::string digits = Strip(text, Side::kBoth, std::nullopt).bytes();
  int64_t value = 0;
  if (!absl::SimpleAtoi(digits, &value)) return std::nullopt;
  return value;
}

absl::StatusOr<Value> ToInteger(const Value& value, const Arguments& arguments, Context&) {
  R1_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      arguments.Bind("int", {"default", "base"}, {Value::Integer(0), Value::Integer(10)}));
  if (!bound[1].is(Kind::kInteger) || bound[1].integer() != 10) {
    return absl::InvalidArgumentError("int: only base 10 is supported");
  }
  if (value.is_integer()) return Value::Integer(value.integer());
  if (value.is(Kind::kBigInteger)) return value;
  std::optional<double> number;
  if (value.is(Kind::kFloat)) number = value.number();
  if (value.is(Kind::kString)) {
    if (const auto integer = ParseInteger(value.text())) return Value::Integer(*integer);
    number = ParseFloat(value.text());
  }
  if (!number.has_value() || !std::isfinite(*number)) return bound[0];
  if (std::abs(*number) >= 0x1p63) {
    return absl::InvalidArgumentError("int: the number does not fit 64 bits");
  }
  return Value::Integer(static_cast<int64_t>(*number));
}

absl::StatusOr<Value> ToFloat(const Value& value, const Arguments& arguments, Context&) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                      arguments.Bind("float", {"default"}, {Value::Float(0)}));
  if (value.is_number()) return Value::Float(value.number());
  if (value.is(Kind::kString)) {
    if (const auto number = ParseFloat(value.text())) return Value::Float(*number);
  }
  return bound[0];
}

absl::StatusOr<Value> Absolute(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("abs", {}).status());
  if (!value.is_number()) return Wrong("abs", value, "a number");
  if (value.is(Kind::kFloat)) return Value::Float(std::abs(value.number()));
  if (value.integer() >= 0) return Value::Integer(value.integer());
  return ApplyOperator("-", Value::Integer(0), value, context);
}

absl::StatusOr<Value> Round(const Value& value, const Arguments& arguments, Context&) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                      arguments.Bind("round", {"precision", "method"},
                                     {Value::Integer(0), Value::String("common", false)}));
  if (!value.is_number()) return Wrong("round", value, "a number");
  if (!bound[0].is_integer() || bound[0].integer() < 0 || bound[0].integer() > kPrecisionMax) {
    return Wrong("round: precision", bound[0], absl::StrCat("an int in 0..", kPrecisionMax));
  }
  const int precision = static_cast<int>(bound[0].integer());
  const absl::string_view method =
      bound[1].is(Kind::kString) ? absl::string_view(bound[1].text().bytes()) : "";
  if (method == "common") {
    if (value.is_integer()) return Value::Integer(value.integer());
    // The decimal of that many places nearest to the double's exact value, ties to even.
    double rounded = 0;
    R1_CHECK(absl::SimpleAtod(absl::StrFormat("%.*f", precision, value.number()), &rounded));
    return Value::Float(rounded);
  }
  if (method != "ceil" && method != "floor") {
    return absl::InvalidArgumentError("round: method must be common, ceil or floor");
  }
  const double scale = std::pow(10.0, precision);
  const double scaled = value.number() * scale;
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

constexpr NamedFilter kFilters[] = {
    {"abs", Absolute},
    {"capitalize", ChangeCase<kCapitalize>},
    {"d", Default},
    {"default", Default},
    {"float", ToFloat},
    {"indent", Indent},
    {"int", ToInteger},
    {"lower", ChangeCase<kLower>},
    {"replace", ReplaceFilter},
    {"round", Round},
    {"string", ToString},
    {"tojson", ToJsonFilter},
    {"trim", Trim},
    {"upper", ChangeCase<kUpper>},
};

}  // namespace

std::span<const NamedFilter> ScalarFilters() { return kFilters; }

}  // namespace r1::jinja
