// Filters of what can be iterated, as Jinja 3.1 has them.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/jinja/filters.h"
#include "common/jinja/python_text.h"
#include "common/jinja/strings.h"

namespace r1::jinja {
namespace {

using Values = std::vector<Value>;

// The value under "a.b.0", or the value itself for none.
absl::StatusOr<Value> AttributePath(Value value, const Value& path, Context& context) {
  if (path.is(Kind::kNone)) return value;
  if (path.is_integer()) return GetItem(value, path, context);
  if (!path.is(Kind::kString)) {
    return absl::InvalidArgumentError("attribute: expected a str or an int");
  }
  for (const absl::string_view part : absl::StrSplit(path.text().bytes(), '.')) {
    int64_t index = 0;
    const Value key =
        absl::SimpleAtoi(part, &index) ? Value::Integer(index) : Value::String(part, false);
    R1_ASSIGN_OR_RETURN(value, GetItem(value, key, context));
  }
  return value;
}

// Strings in lower case, as Jinja compares them unless told otherwise.
absl::StatusOr<Value> SortKey(const Value& value, const Value& path, bool case_sensitive,
                              Context& context) {
  R1_ASSIGN_OR_RETURN(const Value key, AttributePath(value, path, context));
  if (case_sensitive || !key.is(Kind::kString)) return key;
  R1_ASSIGN_OR_RETURN(Text lower, LowerCase(key.text()));
  return Value::String(std::move(lower));
}

struct Keyed {
  Value key;
  Value value;
};

// Stable. A comparison that fails ends the sorting's effect, and the error is returned.
absl::StatusOr<Values> SortKeyed(std::vector<Keyed> keyed, bool reverse, Context& context) {
  absl::Status status;
  std::stable_sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    if (!status.ok()) return false;
    const absl::StatusOr<bool> less =
        reverse ? Less(b.key, a.key, context.budget) : Less(a.key, b.key, context.budget);
    status.Update(less.status());
    return less.ok() && *less;
  });
  R1_RETURN_IF_ERROR(status);
  Values sorted;
  for (Keyed& item : keyed) sorted.push_back(std::move(item.value));
  return sorted;
}

absl::StatusOr<Value> Length(const Value& value, const Arguments& arguments, Context&) {
  R1_RETURN_IF_ERROR(arguments.Bind("length", {}).status());
  size_t size = 0;
  if (value.is(Kind::kString)) {
    size = CountCharacters(value.text().bytes());
  } else if (value.is(Kind::kList) && value.list().type != List::Type::kGenerator) {
    size = value.list().elements.size();
  } else if (value.is(Kind::kDict)) {
    size = value.dict().entries.size();
  } else if (!value.is(Kind::kUndefined)) {
    return absl::InvalidArgumentError(
        absl::StrCat("object of type '", value.TypeName(), "' has no len()"));
  }
  return Value::Integer(static_cast<int64_t>(size));
}

absl::StatusOr<Value> Join(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(
      const Values bound,
      arguments.Bind("join", {"d", "attribute"}, {Value::String("", false), Value::None()}));
  R1_ASSIGN_OR_RETURN(const Text separator, ToText(bound[0], context.budget));
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  Text joined;
  for (size_t i = 0; i < elements.size(); ++i) {
    R1_ASSIGN_OR_RETURN(const Value element, AttributePath(elements[i], bound[1], context));
    R1_ASSIGN_OR_RETURN(const Text text, ToText(element, context.budget));
    R1_RETURN_IF_ERROR(context.budget.Spend(separator.size() + text.size()));
    if (i > 0) joined.Append(separator);
    joined.Append(text);
  }
  return Value::String(std::move(joined));
}

absl::StatusOr<Value> ToList(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("list", {}).status());
  R1_ASSIGN_OR_RETURN(Values elements, Iterate(value, context.budget));
  return MakeList(std::move(elements));
}

absl::StatusOr<Value> First(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("first", {}).status());
  if (value.is(Kind::kList) && value.list().type == List::Type::kGenerator) {
    const List& generator = value.list();
    if (generator.consumed < generator.elements.size()) {
      return generator.elements[generator.consumed++];
    }
  }
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  if (elements.empty()) return Value::Undefined("No first item, sequence was empty.");
  return elements.front();
}

absl::StatusOr<Value> Last(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("last", {}).status());
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  if (elements.empty()) return Value::Undefined("No last item, sequence was empty.");
  return elements.back();
}

absl::StatusOr<Value> Reverse(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("reverse", {}).status());
  R1_ASSIGN_OR_RETURN(Values elements, Iterate(value, context.budget));
  std::reverse(elements.begin(), elements.end());
  if (!value.is(Kind::kString)) return MakeList(std::move(elements), List::Type::kGenerator);
  Text text;
  for (const Value& character : elements) text.Append(character.text());
  return Value::String(std::move(text));
}

absl::StatusOr<Values> PairsOf(absl::string_view filter, const Value& value, Context& context) {
  if (!value.is(Kind::kDict)) {
    return absl::InvalidArgumentError(
        absl::StrCat(filter, ": expected a dict, found ", value.TypeName()));
  }
  Values pairs;
  R1_RETURN_IF_ERROR(context.budget.Spend(3 * sizeof(Value) * value.dict().entries.size()));
  for (const auto& [key, item] : value.dict().entries) {
    R1_ASSIGN_OR_RETURN(Value pair, MakeList({key, item}, List::Type::kTuple));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

absl::StatusOr<Value> Items(const Value& value, const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(arguments.Bind("items", {}).status());
  Values pairs;
  if (!value.is(Kind::kUndefined)) {
    R1_ASSIGN_OR_RETURN(pairs, PairsOf("items", value, context));
  }
  return MakeList(std::move(pairs), List::Type::kGenerator);
}

absl::StatusOr<Value> DictSort(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(
      const Values bound,
      arguments.Bind("dictsort", {"case_sensitive", "by", "reverse"},
                     {Value::Bool(false), Value::String("key", false), Value::Bool(false)}));
  R1_RETURN_IF_ERROR(CheckDefined(value));
  const absl::string_view by =
      bound[1].is(Kind::kString) ? absl::string_view(bound[1].text().bytes()) : "";
  if (by != "key" && by != "value") {
    return absl::InvalidArgumentError("dictsort: by must be \"key\" or \"value\"");
  }
  R1_ASSIGN_OR_RETURN(const Values pairs, PairsOf("dictsort", value, context));
  std::vector<Keyed> keyed;
  for (const Value& pair : pairs) {
    R1_ASSIGN_OR_RETURN(Value key, SortKey(pair.list().elements[by == "key" ? 0 : 1], Value::None(),
                                           bound[0].Truth(), context));
    keyed.push_back({std::move(key), pair});
  }
  R1_ASSIGN_OR_RETURN(Values sorted, SortKeyed(std::move(keyed), bound[2].Truth(), context));
  return MakeList(std::move(sorted));
}

absl::StatusOr<Value> Sort(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const Values bound,
                      arguments.Bind("sort", {"reverse", "case_sensitive", "attribute"},
                                     {Value::Bool(false), Value::Bool(false), Value::None()}));
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  std::vector<Keyed> keyed;
  for (const Value& element : elements) {
    R1_ASSIGN_OR_RETURN(Value key, SortKey(element, bound[2], bound[1].Truth(), context));
    keyed.push_back({std::move(key), element});
  }
  R1_ASSIGN_OR_RETURN(Values sorted, SortKeyed(std::move(keyed), bound[0].Truth(), context));
  return MakeList(std::move(sorted));
}

absl::StatusOr<Value> Unique(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const Values bound, arguments.Bind("unique", {"case_sensitive", "attribute"},
                                                         {Value::Bool(false), Value::None()}));
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  Values seen, unique;
  for (const Value& element : elements) {
    R1_ASSIGN_OR_RETURN(Value key, SortKey(element, bound[1], bound[0].Truth(), context));
    bool known = false;
    for (size_t i = 0; i < seen.size() && !known; ++i) {
      R1_ASSIGN_OR_RETURN(known, Equal(seen[i], key, context.budget));
    }
    if (known) continue;
    seen.push_back(std::move(key));
    unique.push_back(element);
  }
  return MakeList(std::move(unique), List::Type::kGenerator);
}

// The least or greatest element; the first of equal ones.
template <bool kGreatest>
absl::StatusOr<Value> Extreme(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const Values bound,
                      arguments.Bind(kGreatest ? "max" : "min", {"case_sensitive", "attribute"},
                                     {Value::Bool(false), Value::None()}));
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  if (elements.empty()) return Value::Undefined("No aggregated item, sequence was empty.");
  Value best = elements[0];
  R1_ASSIGN_OR_RETURN(Value best_key, SortKey(best, bound[1], bound[0].Truth(), context));
  for (size_t i = 1; i < elements.size(); ++i) {
    R1_ASSIGN_OR_RETURN(Value key, SortKey(elements[i], bound[1], bound[0].Truth(), context));
    R1_ASSIGN_OR_RETURN(const bool better, kGreatest ? Less(best_key, key, context.budget)
                                                     : Less(key, best_key, context.budget));
    if (!better) continue;
    best = elements[i];
    best_key = std::move(key);
  }
  return best;
}

absl::StatusOr<Value> Sum(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const Values bound, arguments.Bind("sum", {"attribute", "start"},
                                                         {Value::None(), Value::Integer(0)}));
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  Value total = bound[1];
  if (total.is(Kind::kString)) {
    return absl::InvalidArgumentError("sum() can't sum strings [use ''.join(seq) instead]");
  }
  for (const Value& element : elements) {
    R1_ASSIGN_OR_RETURN(const Value part, AttributePath(element, bound[0], context));
    R1_ASSIGN_OR_RETURN(total, ApplyOperator("+", total, part, context));
  }
  return total;
}

// map(attribute="x", default=y), or map("filter", its arguments).
absl::StatusOr<Value> Map(const Value& value, const Arguments& arguments, Context& context) {
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  Values mapped;
  if (arguments.positional.empty()) {
    R1_ASSIGN_OR_RETURN(const Values bound, arguments.Bind("map", {"attribute", "default"},
                                                           {Value::None(), Value::None()}));
    for (const Value& element : elements) {
      R1_ASSIGN_OR_RETURN(Value item, AttributePath(element, bound[0], context));
      const bool missing = item.is(Kind::kUndefined) && !bound[1].is(Kind::kNone);
      mapped.push_back(missing ? bound[1] : std::move(item));
    }
    return MakeList(std::move(mapped), List::Type::kGenerator);
  }
  const Value& name = arguments.positional[0];
  if (!name.is(Kind::kString)) {
    return absl::InvalidArgumentError("map: expected the name of a filter");
  }
  Arguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  for (const Value& element : elements) {
    R1_ASSIGN_OR_RETURN(Value item, ApplyFilter(name.text().bytes(), element, rest, context));
    mapped.push_back(std::move(item));
  }
  return MakeList(std::move(mapped), List::Type::kGenerator);
}

// Elements that pass (or fail) a test, which is truth when none is named; with `kByAttribute` the
// test is of the attribute that the first argument names.
template <bool kKeep, bool kByAttribute>
absl::StatusOr<Value> Select(const Value& value, const Arguments& arguments, Context& context) {
  Arguments rest = arguments;
  const auto take = [&rest]() -> Value {
    if (rest.positional.empty()) return Value::None();
    Value first = std::move(rest.positional.front());
    rest.positional.erase(rest.positional.begin());
    return first;
  };
  const Value path = kByAttribute ? take() : Value::None();
  if (kByAttribute && path.is(Kind::kNone)) {
    return absl::InvalidArgumentError("expected the name of an attribute");
  }
  const Value test = take();
  if (!test.is(Kind::kNone) && !test.is(Kind::kString)) {
    return absl::InvalidArgumentError("expected the name of a test");
  }
  R1_ASSIGN_OR_RETURN(const Values elements, Iterate(value, context.budget));
  Values kept;
  for (const Value& element : elements) {
    R1_ASSIGN_OR_RETURN(const Value tested, AttributePath(element, path, context));
    bool passes = tested.Truth();
    if (test.is(Kind::kString)) {
      R1_ASSIGN_OR_RETURN(passes, ApplyTest(test.text().bytes(), tested, rest, context));
    }
    if (passes == kKeep) kept.push_back(element);
  }
  return MakeList(std::move(kept), List::Type::kGenerator);
}

constexpr NamedFilter kFilters[] = {
    {"count", Length},
    {"dictsort", DictSort},
    {"first", First},
    {"items", Items},
    {"join", Join},
    {"last", Last},
    {"length", Length},
    {"list", ToList},
    {"map", Map},
    {"max", Extreme<true>},
    {"min", Extreme<false>},
    {"reject", Select<false, false>},
    {"rejectattr", Select<false, true>},
    {"reverse", Reverse},
    {"select", Select<true, false>},
    {"selectattr", Select<true, true>},
    {"sort", Sort},
    {"sum", Sum},
    {"unique", Unique},
};

const NamedFilter* FindOrNull(absl::string_view name) {
  for (const std::span<const NamedFilter> filters : {ScalarFilters(), SequenceFilters()}) {
    for (const NamedFilter& filter : filters) {
      if (filter.name == name) return &filter;
    }
  }
  return nullptr;
}

}  // namespace

std::span<const NamedFilter> SequenceFilters() { return kFilters; }

bool IsFilter(absl::string_view name) { return FindOrNull(name) != nullptr; }

absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& value,
                                  const Arguments& arguments, Context& context) {
  R1_RETURN_IF_ERROR(context.budget.Spend(1));
  const NamedFilter* found = FindOrNull(name);
  if (found == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("filter ", name, " is not supported"));
  }
  return found->filter(value, arguments, context);
}

}  // namespace r1::jinja
