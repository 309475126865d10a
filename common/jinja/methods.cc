// Methods of strings, lists and dicts, as Python has them, and the global functions.

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "common/jinja/builtins.h"
#include "common/jinja/python_text.h"
#include "common/jinja/strings.h"

namespace r1::jinja {
namespace {

constexpr int64_t kRangeMax = 100000;  // of Jinja's sandbox
constexpr size_t kTimeFormatBytesMax = 1000;

// Every public attribute of Python's types, whether it can be called here or not.
constexpr absl::string_view kStringMethods[] = {
    "capitalize",   "casefold",    "center",    "count",      "encode",       "endswith",
    "expandtabs",   "find",        "format",    "format_map", "index",        "isalnum",
    "isalpha",      "isascii",     "isdecimal", "isdigit",    "isidentifier", "islower",
    "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",      "join",
    "ljust",        "lower",       "lstrip",    "maketrans",  "partition",    "removeprefix",
    "removesuffix", "replace",     "rfind",     "rindex",     "rjust",        "rpartition",
    "rsplit",       "rstrip",      "split",     "splitlines", "startswith",   "strip",
    "swapcase",     "title",       "translate", "upper",      "zfill"};
constexpr absl::string_view kListMethods[] = {"append", "clear",   "copy",   "count",
                                              "extend", "index",   "insert", "pop",
                                              "remove", "reverse", "sort"};
constexpr absl::string_view kTupleMethods[] = {"count", "index"};
constexpr absl::string_view kDictMethods[] = {"clear",      "copy",   "fromkeys", "get",
                                              "items",      "keys",   "pop",      "popitem",
                                              "setdefault", "update", "values"};

template <size_t N>
bool IsIn(const absl::string_view (&names)[N], absl::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

absl::Status NotSupported(const Value& value, absl::string_view name) {
  return absl::InvalidArgumentError(
      absl::StrCat("method ", name, " of a ", value.TypeName(), " changes it or is not supported"));
}

absl::Status WrongArgument(absl::string_view name, const Value& found, absl::string_view expected) {
  R1_RETURN_IF_ERROR(CheckDefined(found));
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected ", expected, ", found ", found.TypeName()));
}

absl::StatusOr<Value> Strings(const std::vector<Text>& texts, Context& context) {
  R1_RETURN_IF_ERROR(context.budget.Spend(texts.size() * (sizeof(Value) + sizeof(Text))));
  std::vector<Value> values;
  for (const Text& text : texts) values.push_back(Value::String(text));
  return MakeList(std::move(values));
}

// A string or none (nullopt).
absl::StatusOr<std::optional<std::string>> StringOrNone(absl::string_view name,
                                                        const Value& value) {
  if (value.is(Kind::kNone)) return std::optional<std::string>();
  if (!value.is(Kind::kString)) return WrongArgument(name, value, "a str or none");
  return std::optional<std::string>(value.text().bytes());
}

absl::StatusOr<Value> SplitMethod(absl::string_view name, const Text& text,
                                  const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      arguments.Bind(name, {"sep", "maxsplit"}, {Value::None(), Value::Integer(-1)}));
  R1_ASSIGN_OR_RETURN(const std::optional<std::string> separator, StringOrNone(name, bound[0]));
  if (separator.has_value() && separator->empty()) {
    return absl::InvalidArgumentError("empty separator");
  }
  if (!bound[1].is_integer()) return WrongArgument(name, bound[1], "an int");
  return Strings(Split(text, separator, std::max<int64_t>(bound[1].integer(), -1), name[0] == 'r'),
                 context);
}

// Whether the text begins or ends with a string, or with any of a tuple.
absl::StatusOr<Value> AffixMethod(absl::string_view name, const Text& text,
                                  const Arguments& arguments) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind(name, {"prefix"}));
  std::vector<Value> affixes = {bound[0]};
  if (bound[0].is(Kind::kList) && bound[0].list().type == List::Type::kTuple) {
    affixes = bound[0].list().elements;
  }
  bool found = false;
  for (const Value& affix : affixes) {
    if (!affix.is(Kind::kString)) return WrongArgument(name, affix, "a str or a tuple of str");
    found = found || (name == "startswith" ? absl::StartsWith(text.bytes(), affix.text().bytes())
                                           : absl::EndsWith(text.bytes(), affix.text().bytes()));
  }
  return Value::Bool(found);
}

absl::StatusOr<Value> RemoveAffix(absl::string_view name, const Text& text,
                                  const Arguments& arguments) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind(name, {"affix"}));
  if (!bound[0].is(Kind::kString)) return WrongArgument(name, bound[0], "a str");
  const std::string& affix = bound[0].text().bytes();
  if (name == "removeprefix" && absl::StartsWith(text.bytes(), affix)) {
    return Value::String(text.Slice(affix.size(), text.size()));
  }
  if (name == "removesuffix" && absl::EndsWith(text.bytes(), affix)) {
    return Value::String(text.Slice(0, text.size() - affix.size()));
  }
  return Value::String(text);
}

absl::StatusOr<Value> ReplaceMethod(const Text& text, const Arguments& arguments,
                                    Context& context) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                      arguments.Bind("replace", {"old", "new", "count"},
                                     {Value::None(), Value::None(), Value::Integer(-1)}));
  if (!bound[0].is(Kind::kString)) return WrongArgument("replace", bound[0], "a str");
  if (!bound[1].is(Kind::kString)) return WrongArgument("replace", bound[1], "a str");
  if (!bound[2].is_integer()) return WrongArgument("replace", bound[2], "an int");
  const size_t old_bytes = bound[0].text().size();
  const size_t places = old_bytes == 0 ? text.size() + 1 : text.size() / old_bytes;
  R1_RETURN_IF_ERROR(context.budget.Spend(text.size()));
  R1_RETURN_IF_ERROR(context.budget.Spend(places * (1 + bound[1].text().size())));
  return Value::String(Replace(text, bound[0].text().bytes(), bound[1].text(), bound[2].integer()));
}

absl::StatusOr<Value> JoinMethod(const Text& separator, const Arguments& arguments,
                                 Context& context) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind("join", {"iterable"}));
  R1_RETURN_IF_ERROR(CheckDefined(bound[0]));
  R1_ASSIGN_OR_RETURN(const std::vector<Value> pieces, Iterate(bound[0], context.budget));
  Text joined;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!pieces[i].is(Kind::kString)) return WrongArgument("join", pieces[i], "str elements");
    R1_RETURN_IF_ERROR(context.budget.Spend(separator.size() + pieces[i].text().size()));
    if (i > 0) joined.Append(separator);
    joined.Append(pieces[i].text());
  }
  return Value::String(std::move(joined));
}

// find, rfind, index, rindex and count of a string in the text; places are characters.
absl::StatusOr<Value> FindMethod(absl::string_view name, const Text& text,
                                 const Arguments& arguments) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind(name, {"sub"}));
  if (!bound[0].is(Kind::kString)) return WrongArgument(name, bound[0], "a str");
  const absl::string_view bytes = text.bytes(), wanted = bound[0].text().bytes();
  if (name == "count") {
    if (wanted.empty()) return Value::Integer(static_cast<int64_t>(CountCharacters(bytes)) + 1);
    int64_t count = 0;
    for (size_t at = bytes.find(wanted); at != absl::string_view::npos;
         at = bytes.find(wanted, at + wanted.size())) {
      ++count;
    }
    return Value::Integer(count);
  }
  const size_t at = name[0] == 'r' ? bytes.rfind(wanted) : bytes.find(wanted);
  if (at != absl::string_view::npos) {
    return Value::Integer(static_cast<int64_t>(CountCharacters(bytes.substr(0, at))));
  }
  if (absl::EndsWith(name, "index")) return absl::InvalidArgumentError("substring not found");
  return Value::Integer(-1);
}

// isdigit, isalpha and the like for ASCII; other characters depend on Unicode's version.
absl::StatusOr<Value> CharacterClass(absl::string_view name, const Text& text) {
  bool all = text.size() > 0;
  for (const char c : text.bytes()) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is supported for ASCII characters only"));
    }
    all = all && (name == "isalpha"   ? absl::ascii_isalpha(byte)
                  : name == "isalnum" ? absl::ascii_isalnum(byte)
                                      : absl::ascii_isdigit(byte));
  }
  return Value::Bool(all);
}

absl::StatusOr<Value> IsSpaceMethod(const Text& text) {
  bool all = text.size() > 0;
  for (size_t at = 0; at < text.size(); at = NextCharacter(text.bytes(), at)) {
    all = all && IsSpace(CodePointAt(text.bytes(), at));
  }
  return Value::Bool(all);
}

absl::StatusOr<Value> CaseMethod(absl::string_view name, const Text& text,
                                 const Arguments& arguments) {
  R1_RETURN_IF_ERROR(arguments.Bind(name, {}).status());
  if (name == "upper" || name == "lower") {
    R1_ASSIGN_OR_RETURN(Text mapped, name == "upper" ? UpperCase(text) : LowerCase(text));
    return Value::String(std::move(mapped));
  }
  const size_t first = text.size() == 0 ? 0 : NextCharacter(text.bytes(), 0);
  R1_ASSIGN_OR_RETURN(Text capital, UpperCase(text.Slice(0, first)));
  R1_ASSIGN_OR_RETURN(const Text rest, LowerCase(text.Slice(first, text.size())));
  capital.Append(rest);
  return Value::String(std::move(capital));
}

absl::StatusOr<Value> CallStringMethod(const Value& value, absl::string_view name,
                                       const Arguments& arguments, Context& context) {
  const Text& text = value.text();
  R1_RETURN_IF_ERROR(context.budget.Spend(text.size()));
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        arguments.Bind(name, {"chars"}, {Value::None()}));
    R1_ASSIGN_OR_RETURN(const std::optional<std::string> stripped, StringOrNone(name, bound[0]));
    const Side side = name == "strip" ? Side::kBoth : name == "lstrip" ? Side::kLeft : Side::kRight;
    return Value::String(Strip(text, side, stripped));
  }
  if (name == "split" || name == "rsplit") return SplitMethod(name, text, arguments, context);
  if (name == "splitlines") {
    R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        arguments.Bind(name, {"keepends"}, {Value::Bool(false)}));
    return Strings(SplitLines(text, bound[0].Truth()), context);
  }
  if (name == "startswith" || name == "endswith") return AffixMethod(name, text, arguments);
  if (name == "removeprefix" || name == "removesuffix") return RemoveAffix(name, text, arguments);
  if (name == "replace") return ReplaceMethod(text, arguments, context);
  if (name == "join") return JoinMethod(text, arguments, context);
  if (name == "find" || name == "rfind" || name == "index" || name == "rindex" || name == "count") {
    return FindMethod(name, text, arguments);
  }
  if (name == "upper" || name == "lower" || name == "capitalize") {
    return CaseMethod(name, text, arguments);
  }
  if (name == "isalpha" || name == "isalnum" || name == "isdigit") {
    R1_RETURN_IF_ERROR(arguments.Bind(name, {}).status());
    return CharacterClass(name, text);
  }
  if (name == "isspace") return IsSpaceMethod(text);
  return NotSupported(value, name);
}

absl::StatusOr<Value> CallDictMethod(const Value& value, absl::string_view name,
                                     const Arguments& arguments, Context& context) {
  const Dict& dict = value.dict();
  if (name == "get") {
    R1_ASSIGN_OR_RETURN(const std::vector<Value> bound,
                        arguments.Bind(name, {"key", "default"}, {Value::None(), Value::None()}));
    for (const auto& [key, item] : dict.entries) {
      R1_ASSIGN_OR_RETURN(const bool same, Equal(key, bound[0], context.budget));
      if (same) return item;
    }
    return bound[1];
  }
  R1_RETURN_IF_ERROR(arguments.Bind(name, {}).status());
  if (name == "copy") return value;
  if (name != "items" && name != "keys" && name != "values") return NotSupported(value, name);
  std::vector<Value> elements;
  R1_RETURN_IF_ERROR(context.budget.Spend(3 * sizeof(Value) * dict.entries.size()));
  for (const auto& [key, item] : dict.entries) {
    if (name == "items") {
      R1_ASSIGN_OR_RETURN(Value pair, MakeList({key, item}, List::Type::kTuple));
      elements.push_back(std::move(pair));
    } else {
      elements.push_back(name == "keys" ? key : item);
    }
  }
  return MakeList(std::move(elements));
}

absl::StatusOr<Value> CallListMethod(const Value& value, absl::string_view name,
                                     const Arguments& arguments, Context& context) {
  const std::vector<Value>& elements = value.list().elements;
  if (name == "copy") return value;
  if (name != "index" && name != "count") return NotSupported(value, name);
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind(name, {"value"}));
  int64_t count = 0;
  for (size_t i = 0; i < elements.size(); ++i) {
    R1_ASSIGN_OR_RETURN(const bool same, Equal(elements[i], bound[0], context.budget));
    if (same && name == "index") return Value::Integer(static_cast<int64_t>(i));
    count += same ? 1 : 0;
  }
  if (name == "index") return absl::InvalidArgumentError("the value is not in the list");
  return Value::Integer(count);
}

absl::StatusOr<Value> Range(const Arguments& arguments, Context& context) {
  if (!arguments.keyword.empty() || arguments.positional.empty() ||
      arguments.positional.size() > 3) {
    return absl::InvalidArgumentError("range: expected one to three integers");
  }
  int64_t bounds[3] = {0, 0, 1};
  const bool only_end = arguments.positional.size() == 1;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    const Value& bound = arguments.positional[i];
    if (!bound.is_integer()) return WrongArgument("range", bound, "an int");
    bounds[only_end ? 1 : i] = bound.integer();
  }
  const auto [begin, end, step] = bounds;
  if (step == 0) return absl::InvalidArgumentError("range: the step must not be zero");
  std::vector<Value> elements;
  for (__int128 i = begin; step > 0 ? i < end : i > end; i += step) {
    if (static_cast<int64_t>(elements.size()) >= kRangeMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("range: more than ", kRangeMax, " elements are not allowed"));
    }
    elements.push_back(Value::Integer(static_cast<int64_t>(i)));
  }
  R1_RETURN_IF_ERROR(context.budget.Spend(sizeof(Value) * elements.size()));
  return MakeList(std::move(elements));
}

absl::StatusOr<Value> StrftimeNow(const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind("strftime_now", {"format"}));
  if (!bound[0].is(Kind::kString)) return WrongArgument("strftime_now", bound[0], "a str");
  const std::string& format = bound[0].text().bytes();
  if (format.size() > kTimeFormatBytesMax) {
    return absl::InvalidArgumentError("strftime_now: the format is too long");
  }
  return Value::String(absl::FormatTime(format, context.now, context.time_zone), true);
}

}  // namespace

absl::StatusOr<std::vector<Value>> Arguments::Bind(absl::string_view function,
                                                   const std::vector<absl::string_view>& names,
                                                   const std::vector<Value>& fallbacks) const {
  if (positional.size() > names.size()) {
    return absl::InvalidArgumentError(absl::StrCat(function, ": expected at most ", names.size(),
                                                   " arguments, found ", positional.size()));
  }
  std::vector<Value> bound;
  for (size_t i = 0; i < names.size(); ++i) {
    bound.push_back(
        i < positional.size() ? positional[i]
        : i < fallbacks.size()
            ? fallbacks[i]
            : Value::Undefined(absl::StrCat(function, ": argument ", names[i], " is missing")));
  }
  for (const auto& [name, value] : keyword) {
    const auto place = std::find(names.begin(), names.end(), name);
    const auto index = static_cast<size_t>(place - names.begin());
    if (place == names.end() || index < positional.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(function, ": argument ", name,
                       place == names.end() ? " is not known" : " is given twice"));
    }
    bound[index] = value;
  }
  return bound;
}

bool HasMethod(const Value& value, absl::string_view name) {
  if (value.is(Kind::kString)) return IsIn(kStringMethods, name);
  if (value.is(Kind::kDict)) return IsIn(kDictMethods, name);
  if (!value.is(Kind::kList)) return false;
  return value.list().type == List::Type::kList    ? IsIn(kListMethods, name)
         : value.list().type == List::Type::kTuple ? IsIn(kTupleMethods, name)
                                                   : false;
}

absl::StatusOr<Value> CallMethod(const Value& value, absl::string_view name,
                                 const Arguments& arguments, Context& context) {
  R1_CHECK(HasMethod(value, name));
  if (value.is(Kind::kString)) return CallStringMethod(value, name, arguments, context);
  if (value.is(Kind::kDict)) return CallDictMethod(value, name, arguments, context);
  return CallListMethod(value, name, arguments, context);
}

absl::StatusOr<Value> CallFunction(absl::string_view name, const Arguments& arguments,
                                   Context& context) {
  if (name == "range") return Range(arguments, context);
  if (name == "strftime_now") return StrftimeNow(arguments, context);
  if (name == "raise_exception") {
    R1_ASSIGN_OR_RETURN(const std::vector<Value> bound, arguments.Bind(name, {"message"}));
    R1_ASSIGN_OR_RETURN(const Text message, ToText(bound[0], context.budget));
    return absl::InvalidArgumentError(message.bytes());
  }
  R1_CHECK(name == "dict");
  std::vector<std::pair<Value, Value>> entries;
  if (arguments.positional.size() > 1 ||
      (arguments.positional.size() == 1 && !arguments.positional[0].is(Kind::kDict))) {
    return absl::InvalidArgumentError("dict: expected a dict, keyword arguments, or both");
  }
  if (!arguments.positional.empty()) entries = arguments.positional[0].dict().entries;
  R1_RETURN_IF_ERROR(context.budget.Spend(2 * sizeof(Value) * entries.size()));
  for (const auto& [key, value] : arguments.keyword) {
    entries.emplace_back(Value::String(key, false), value);
  }
  return MakeDict(std::move(entries), context.budget);
}

}  // namespace r1::jinja
