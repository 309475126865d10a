// What templates can call: filters, tests, methods of strings, lists and dicts, and global
// functions, with the results and the errors of Jinja 3.1 and Python. Each takes its arguments by
// place or by name, as the original does.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/jinja/budget.h"
#include "common/jinja/value.h"
#include "common/status.h"

namespace r1::jinja {

// Of one rendering. Borrowed.
struct Context {
  Budget& budget;
  absl::Time now;
  absl::TimeZone time_zone;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;

  // One value for each of the names; what was not given is the fallback of that place, or undefined
  // beyond them. InvalidArgument names `function`, and an argument that it does not take.
  [[nodiscard]] absl::StatusOr<std::vector<Value>> Bind(
      absl::string_view function, const std::vector<absl::string_view>& names,
      const std::vector<Value>& fallbacks = {}) const;
};

bool IsFilter(absl::string_view name);
[[nodiscard]] absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& value,
                                                const Arguments& arguments, Context& context);

bool IsTest(absl::string_view name);
[[nodiscard]] absl::StatusOr<bool> ApplyTest(absl::string_view name, const Value& value,
                                             const Arguments& arguments, Context& context);

// Whether Python has a method of this name on values of this kind, so that it hides a dict's entry.
bool HasMethod(const Value& value, absl::string_view name);
// InvalidArgument for one that changes its object, or is not supported.
[[nodiscard]] absl::StatusOr<Value> CallMethod(const Value& value, absl::string_view name,
                                               const Arguments& arguments, Context& context);

// Global functions but for namespace: "range", "dict", "raise_exception", "strftime_now".
[[nodiscard]] absl::StatusOr<Value> CallFunction(absl::string_view name, const Arguments& arguments,
                                                 Context& context);

// value.name and value[key]; undefined where there is no such thing. InvalidArgument when `value`
// itself is undefined. Objects are the interpreter's.
[[nodiscard]] absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name);
[[nodiscard]] absl::StatusOr<Value> GetItem(const Value& value, const Value& key, Context& context);

// Python's operators: + - * / // % **, and "in".
[[nodiscard]] absl::StatusOr<Value> ApplyOperator(absl::string_view name, const Value& left,
                                                  const Value& right, Context& context);
[[nodiscard]] absl::StatusOr<bool> Contains(const Value& container, const Value& value,
                                            Context& context);

}  // namespace r1::jinja
